"""Generated dashboards and the code that builds them."""
