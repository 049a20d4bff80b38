"""Files that people write: YAML with positions, types of fields, messages, settings."""
