"""Dated prices as data: read, joined with a contract, and checked."""
