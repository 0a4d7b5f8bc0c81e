"""Tests of exporter/awake/."""
