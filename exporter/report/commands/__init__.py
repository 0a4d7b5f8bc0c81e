"""The command of the monthly review."""
