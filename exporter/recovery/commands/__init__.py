"""The commands of recovery."""
