"""Who keeps each compute awake, in seconds and dollars; what watching costs."""
