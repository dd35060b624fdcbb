"""The AWS face: read, authenticate, decode, check, operate, encode. Holds no rules of its own."""
