"""Tests of exporter/serving/."""
