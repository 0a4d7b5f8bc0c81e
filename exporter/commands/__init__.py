"""One file is one command: its options, and what it prints."""
