"""Recordings of the Neon API: what a real account answers, with everything that names somebody replaced."""
