"""A world of a week and of seven hours, the same every time, in which things are wrong on purpose."""
