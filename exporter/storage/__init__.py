"""What is on the disk: one SQLite file with tables for each part, and the one thread that writes it."""
