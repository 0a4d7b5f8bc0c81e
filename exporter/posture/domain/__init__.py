"""Security posture: facts in, findings out. Pure; one small rule for each control, in modules by theme."""
