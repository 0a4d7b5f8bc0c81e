"""Controls to come."""
