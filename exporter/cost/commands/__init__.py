"""The commands of cost."""
