"""Tests of the posture computations."""
