"""How we observe: Neon, Postgres and PgBouncer. Knows nothing of serving, scheduling or prices."""
