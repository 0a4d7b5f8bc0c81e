"""Rules, routes and runbooks: what fires, what stays silent, and where it goes."""
