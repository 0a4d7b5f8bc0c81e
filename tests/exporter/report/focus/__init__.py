"""FOCUS: rows, files, and what validators say of them."""
