"""What a tenant is: model, tenant files, registry, presets."""
