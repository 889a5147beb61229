"""The option files: their sections, the look-up of registered names, messages, YAML and JSON schema."""
