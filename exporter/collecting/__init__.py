"""The background rounds: what Neon says, who may be visited, what becomes of a visit."""
