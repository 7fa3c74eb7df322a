"""What a step is exported as, beside its YAML."""
