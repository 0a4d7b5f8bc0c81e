"""Rules of waste, each in dollars; no dollar counted twice."""
