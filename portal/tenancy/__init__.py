"""Tenants: model, tenant files, registry and presets."""
