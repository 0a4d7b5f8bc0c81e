"""Security posture: facts in, findings out. Pure; one small function for each control, in rooms by theme."""
