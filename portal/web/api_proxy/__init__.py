"""Calls of a tenant's API."""
