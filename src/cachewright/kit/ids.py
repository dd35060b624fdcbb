"""Where do fresh identifiers and secrets come from? The only place that draws random values."""

from __future__ import annotations

import secrets
import string
import time
import uuid

_UID_ALPHABET = string.ascii_lowercase + string.digits
#: 36^8 = 2.8e12 names: a clash among thousands of resources is not to be expected, and a
#: compare-and-set on creation would refuse it.
_UID_LENGTH = 8
_ACCESS_KEY_ALPHABET = string.ascii_uppercase + "234567"


def new_uid() -> str:
    """Return a fresh resource id: 8 characters of [a-z0-9], the first a letter."""
    first = secrets.choice(string.ascii_lowercase)
    return first + "".join(secrets.choice(_UID_ALPHABET) for _ in range(_UID_LENGTH - 1))


def new_engine_id() -> str:
    """Return a fresh cluster node id as engines make them: 40 hexadecimal characters."""
    return secrets.token_hex(20)


def new_password() -> str:
    """Return a fresh password with 256 bits of randomness, 64 hexadecimal characters."""
    return secrets.token_hex(32)


def new_sortable_id() -> str:
    """Return a fresh id that sorts after every one this process made before."""
    return f"{time.monotonic_ns():020d}{secrets.token_hex(4)}"


def new_request_id() -> str:
    """Return a fresh request id in the form of a UUID."""
    return str(uuid.uuid4())


def new_access_key() -> tuple[str, str]:
    """Return a fresh pair of access key id (20 characters) and secret access key (40)."""
    key_id = "AKCW" + "".join(secrets.choice(_ACCESS_KEY_ALPHABET) for _ in range(16))
    return key_id, secrets.token_urlsafe(30)
