"""Pure computations: no await, no clock, no files, no float money."""
