"""Cachewright: a fully managed in-memory data store that people run themselves."""

__version__ = "0.1.0"
