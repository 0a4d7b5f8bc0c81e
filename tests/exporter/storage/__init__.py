"""Tests of exporter/storage/."""
