"""Tests of exporter/settings/."""
