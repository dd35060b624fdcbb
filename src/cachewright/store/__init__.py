"""What did we promise? Durable desired state and status behind one `Store` protocol."""
