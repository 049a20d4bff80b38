"""Client connections: accepting, reading requests, limits and closing."""
