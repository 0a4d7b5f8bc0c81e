"""Tests of what we read from the Neon API."""
