"""Tests of the pure computations."""
