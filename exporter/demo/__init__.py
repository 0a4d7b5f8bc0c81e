"""The twin: a fake Neon control plane in front of real PostgreSQL servers that suspend and wake."""
