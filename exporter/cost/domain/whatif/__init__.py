"""A stored month under other settings."""
