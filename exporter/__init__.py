"""neonmeter: what we make of the observations, and how we serve it."""
