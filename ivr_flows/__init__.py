"""What a YAML call flow means."""
