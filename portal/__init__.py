"""Tenant Portal: one deployment, many organisations, each with its own OpenID Connect provider."""

__version__ = "0.1.0"
