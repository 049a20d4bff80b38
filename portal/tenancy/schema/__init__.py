"""The schema of a tenant file."""
