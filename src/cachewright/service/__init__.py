"""What may a caller ask for? Validate, change desired state, add the event: one transaction."""
