"""The interpreters of environments: found, asked what they are, remembered."""
