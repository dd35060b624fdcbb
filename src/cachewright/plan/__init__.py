"""What should happen now? Pure functions of frozen values: no I/O, no clock, no log."""
