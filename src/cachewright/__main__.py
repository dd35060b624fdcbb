"""Lets `python -m cachewright` do what the command `cachewright` does."""

from cachewright.entry.cli import main

if __name__ == "__main__":
    main()
