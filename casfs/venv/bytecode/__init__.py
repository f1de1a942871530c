"""What sources become when an interpreter compiles them, once for a store."""
