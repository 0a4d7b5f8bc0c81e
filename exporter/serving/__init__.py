"""From families to bytes to sockets: a scrape runs no query and renders nothing."""
