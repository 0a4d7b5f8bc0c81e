"""Closed months, the invoice, declared lines and budgets."""
