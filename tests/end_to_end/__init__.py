"""The agent as a whole, on real parts."""
