"""The command of posture."""
