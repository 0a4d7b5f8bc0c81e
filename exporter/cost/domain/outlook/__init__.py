"""Forecasts with measured intervals, and what is unusual."""
