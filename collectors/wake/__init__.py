"""May we connect now? Pure rules over state, evidence and time."""
