"""Pure: comparisons of schemas, settings and migrations."""
