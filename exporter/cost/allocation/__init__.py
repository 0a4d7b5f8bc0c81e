"""Costs by month: priced, split by tenant, and shown as series, rows and text."""
