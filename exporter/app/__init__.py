"""The composition root: the list of features, start and stop, reload, schedule."""
