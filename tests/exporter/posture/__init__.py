"""Tests of the security posture."""
