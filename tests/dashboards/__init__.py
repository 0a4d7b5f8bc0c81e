"""What holds of the dashboards: their rules, their queries on a real Prometheus, their pictures."""
