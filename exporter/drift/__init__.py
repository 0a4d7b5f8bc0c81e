"""Drift: which branch, tenant, migration or setting is no longer what it should be, and since when."""
