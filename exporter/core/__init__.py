"""What every room stands on: state, own metrics, tracing, errors."""
