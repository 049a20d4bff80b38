"""Connections of clients: accepting, reading requests, bounds, and the end."""
