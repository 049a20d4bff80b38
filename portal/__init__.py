"""Tenant Portal: one deployment, many organisations, each with its own OpenID Connect provider."""
