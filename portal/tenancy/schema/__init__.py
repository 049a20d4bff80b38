"""The shape of a tenant file."""
