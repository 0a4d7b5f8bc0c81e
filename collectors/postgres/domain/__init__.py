"""What collectors read of Postgres, as plain values and what follows from them alone."""
