"""Tests of exporter/durable/."""
