"""Tests of exporter/drift/."""
