"""What runs on this host? Starts, adopts, stops engines and proves their termination."""
