"""Tests of exporter/finops/."""
