"""WebSockets of browsers, relayed to a tenant's API or to a development server (RFC 6455)."""
