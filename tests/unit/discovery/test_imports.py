"""Does the process of a configuration endpoint load the standard library alone?"""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import sys
before = set(sys.modules)
import cachewright.discovery.__main__
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(loaded - sys.stdlib_module_names))
"""


def test_only_the_standard_library_is_loaded() -> None:
    said = subprocess.run(
        [sys.executable, "-I", "-c", _PROGRAM], capture_output=True, text=True, check=True
    ).stdout
    assert said.split() == ["cachewright"]
