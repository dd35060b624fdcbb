r"""How is a value written into an engine's configuration so that it stays one value?

The engine's parser cuts the file at line feeds, then each line into words; inside double quotes
a backslash escapes, and `\xHH` is any byte. So every value is quoted, and every byte that is not a
plain printable character is written as `\xHH`: the file is printable ASCII and has exactly the
lines that `render` gave it. Checked by starting real engines and asking for the value.

Control characters could be written this way too, but no setting has a use for one, and several
end in places where they do harm later (the log, the process title, C strings that NUL cuts
short). They are refused.
"""

from __future__ import annotations

import ipaddress
import string

from cachewright.model import errors

#: Written as they are inside double quotes. The quote and the backslash are not among them.
_PLAIN = frozenset(
    (string.ascii_letters + string.digits + " !#$%&'()*+,-./:;<=>?@[]^_`{|}~").encode()
)
_DELETE = 0x7F
_SPACE = 0x20
PORT_MAX = 65_535


class UnusableLaunch(errors.Terminal):
    """A launch holds a value that no engine may be started with; names the field, not the value."""


def check_text(field: str, value: str) -> bytes:
    """Return `value` in UTF-8; raise `UnusableLaunch` if it is empty or has controls."""
    if not value:
        raise UnusableLaunch(f"{field} is empty")
    return _checked_bytes(field, value)


def quoted(field: str, value: str) -> str:
    """Return `value` as one quoted word of the configuration; `field` is for the error."""
    content = _checked_bytes(field, value)
    inner = "".join(chr(byte) if byte in _PLAIN else f"\\x{byte:02x}" for byte in content)
    return f'"{inner}"'


def check_address(field: str, value: str) -> str:
    """Return `value` if it is an IP address in its usual form, without zone or prefix."""
    try:
        is_usual = str(ipaddress.ip_address(value)) == value and "%" not in value
    except ValueError:
        is_usual = False
    if not is_usual:
        raise UnusableLaunch(f"{field} is not an IP address")
    return value


def check_port(field: str, value: int) -> int:
    """Return `value` if it is a TCP port."""
    if not 1 <= value <= PORT_MAX:
        raise UnusableLaunch(f"{field} is not a port: {value:d}")
    return value


def _checked_bytes(field: str, value: str) -> bytes:
    try:
        content = value.encode()
    except UnicodeEncodeError:
        raise UnusableLaunch(f"{field} is not a text") from None
    if any(byte < _SPACE or byte == _DELETE for byte in content):
        raise UnusableLaunch(f"{field} contains a control character")
    return content
