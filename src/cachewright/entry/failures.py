"""What is a setting that cannot be used?"""

from __future__ import annotations


class BadSetting(Exception):
    """A setting that cannot be used; `str()` says why and what would do."""
