"""The guarded client for everything the portal sends: URL rules, names, connections, TLS, limits."""
