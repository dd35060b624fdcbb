"""Which characters may travel in XML, and how is a caller's text shown in an error?

XML 1.0 cannot carry most control characters, not even escaped. Requests that contain one are
refused (`decode`), so that every stored value can be shown; what still reaches a response, such
as an echo in an error, has them replaced by U+FFFD.
"""

from __future__ import annotations

import re

#: Characters outside the `Char` production of https://www.w3.org/TR/xml/#charsets, which also
#: covers halves of surrogate pairs.
_FORBIDDEN = "\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff"
_REPLACEMENT = "\ufffd"

#: Long enough to recognise one's own value, short enough for a log line.
_SHOWN_CHARS_MAX = 128

#: A carriage return must be escaped, or XML parsers read it as a line feed.
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"}

_forbidden = re.compile(f"[{_FORBIDDEN}]")
#: Finds what `escape` would change.
special = re.compile(f"[&<>\r{_FORBIDDEN}]")


def is_sayable(text: str) -> bool:
    """Say whether XML 1.0 can carry the text unchanged."""
    return _forbidden.search(text) is None


def escape(text: str) -> str:
    """Return the text as XML character data."""
    if special.search(text) is None:
        return text
    return special.sub(lambda match: _ESCAPES.get(match[0], _REPLACEMENT), text)


def shorten(text: str) -> str:
    """Return the text as it may appear in an error message."""
    if len(text) <= _SHOWN_CHARS_MAX:
        return text
    return f"{text[:_SHOWN_CHARS_MAX]}..."
