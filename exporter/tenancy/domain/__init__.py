"""Pure: tenant rules."""
