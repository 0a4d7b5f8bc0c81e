"""The commands of who keeps computes awake."""
