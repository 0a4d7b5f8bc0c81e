"""The Neon control plane: a client that can only GET, and what we read through it."""
