"""Pure: growth of counters, the largest series, shares of awake time."""
