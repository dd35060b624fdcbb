"""How does a configuration endpoint start? `python -m cachewright.discovery FILE`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from cachewright.discovery.server import Endpoint
from cachewright.discovery.settings import Unusable

_USAGE = 2


def main() -> int:
    """Serve until SIGTERM; the exit code says whether that was possible."""
    if len(sys.argv) != _USAGE:
        sys.stderr.write("usage: python -m cachewright.discovery FILE\n")
        return _USAGE
    try:
        asyncio.run(Endpoint(Path(sys.argv[1])).serve())
    except (Unusable, OSError) as error:
        sys.stderr.write(f"cannot serve: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
