"""Security posture: the catalogue of controls and the frameworks that name them."""
