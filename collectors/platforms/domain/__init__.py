"""Pure values of what stands beside the databases."""
