"""Tests of exporter/collecting/."""
