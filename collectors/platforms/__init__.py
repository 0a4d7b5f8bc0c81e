"""What stands beside the databases: key stores, buckets, TLS handshakes."""
