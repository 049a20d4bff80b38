"""Configuration files: YAML with positions, field types, error messages, settings."""
