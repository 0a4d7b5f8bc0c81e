"""Costs by month: priced, split by tenant, and told as series, rows and text."""
