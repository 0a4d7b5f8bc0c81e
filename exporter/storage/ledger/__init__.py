"""Usage as Neon reported it, kept for good: in SQLite or PostgreSQL, behind one set of promises."""
