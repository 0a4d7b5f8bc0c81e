"""Self-run PgBouncer: its console, what its SHOW commands say, how it is set up."""
