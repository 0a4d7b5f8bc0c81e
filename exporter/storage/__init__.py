"""What is on the disk: one SQLite file with a room of tables for each part, and the one thread that writes it."""
