"""FOCUS, the FinOps Open Cost and Usage Specification: a month as other tools read it."""
