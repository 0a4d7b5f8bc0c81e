"""Tests of exporter/ledger/."""
