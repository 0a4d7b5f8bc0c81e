"""Sampling: visits to computes, scans of user databases, durable counters."""
