"""The monthly review: its facts, its files, and FOCUS."""
