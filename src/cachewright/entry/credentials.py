"""Who may call? The root credentials: given in the environment, or made once and kept.

Kept in `credentials.json`, mode 0600, in the state folder. They never go to a log; people reach
them through `cachewright credentials`, which AWS tools call by themselves.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cachewright.entry.failures import BadSetting
from cachewright.kit import files, ids
from cachewright.kit.secret import Secret

FILE_NAME = "credentials.json"
_KEY_ID = "CACHEWRIGHT_ACCESS_KEY_ID"
_SECRET_KEY = "CACHEWRIGHT_SECRET_ACCESS_KEY"  # noqa: S105 the name of a variable
DEV_PAIR = ("test", "test")


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """One access key with its secret."""

    access_key_id: str
    secret_access_key: Secret
    is_from_environment: bool


def root_credentials(state_dir: Path, environment: Mapping[str, str]) -> Credentials:
    """Return the root credentials: of the environment, else kept ones, else made now."""
    given = from_environment(environment)
    if given is not None:
        return given
    path = state_dir / FILE_NAME
    if not path.exists():
        key_id, secret = ids.new_access_key()
        document = {"access_key_id": key_id, "secret_access_key": secret}
        files.write_atomic(path, json.dumps(document).encode())
    return kept(state_dir)


def from_environment(environment: Mapping[str, str]) -> Credentials | None:
    """Return the pair that the environment gives, `None` when it gives none."""
    key_id, secret = environment.get(_KEY_ID, ""), environment.get(_SECRET_KEY, "")
    if not key_id and not secret:
        return None
    if not key_id or not secret:
        missing = _SECRET_KEY if key_id else _KEY_ID
        raise BadSetting(f"{missing} is not set: give both parts of the pair, or neither")
    return Credentials(
        access_key_id=key_id, secret_access_key=Secret(secret), is_from_environment=True
    )


def kept(state_dir: Path) -> Credentials:
    """Return the pair that is kept in the state folder."""
    path = state_dir / FILE_NAME
    try:
        document = json.loads(path.read_bytes())
        return Credentials(
            access_key_id=str(document["access_key_id"]),
            secret_access_key=Secret(str(document["secret_access_key"])),
            is_from_environment=False,
        )
    except (ValueError, KeyError, TypeError):
        raise BadSetting(f"{path} is damaged: remove it and new credentials are made") from None


def load(state_dir: Path) -> Credentials:
    """Return the pair with which to call the service of `state_dir`."""
    return from_environment(os.environ) or kept(state_dir)
