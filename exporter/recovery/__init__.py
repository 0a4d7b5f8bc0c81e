"""Recovery: what could be restored now, and drills that prove it. Drills write at Neon, the agent never."""
