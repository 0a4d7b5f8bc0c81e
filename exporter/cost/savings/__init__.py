"""What could be saved, and the key figures."""
