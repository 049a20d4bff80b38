"""HTTP handlers: each parses the request, calls one service function and renders the response."""
