"""What the month will cost, and what is unusual."""
