"""Counters that survive suspends, restarts and kill -9."""
