"""What one visit reads in database `postgres`: the whole cluster."""
