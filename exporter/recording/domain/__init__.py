"""Pure: what of an answer may leave the machine."""
