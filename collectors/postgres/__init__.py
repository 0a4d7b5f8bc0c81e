"""PostgreSQL: one guarded session a visit, and what collectors read in it."""
