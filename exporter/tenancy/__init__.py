"""Whose is it: the rules, and what was read for them."""
