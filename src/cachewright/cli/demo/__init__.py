"""The demo: a real cluster comes up, works and goes away without a trace."""
