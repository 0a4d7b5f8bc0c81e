"""Prices: the dated rate card and the price of usage."""
