"""What `make alerts` and `make dashboards` run, as programs that print what they checked."""
