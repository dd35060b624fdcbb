"""How does an engine do it, and which engines can run here? Decides nothing."""
