"""Tests of exporter.recovery."""
