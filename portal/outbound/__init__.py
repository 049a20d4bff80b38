"""The HTTP client for every request of the portal: URL rules, name lookups, connections, TLS, limits."""
