"""Pure values of what Neon says."""
