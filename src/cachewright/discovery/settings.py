"""What was the endpoint told? The file that its agent writes, read and checked.

    {"listen": ["127.0.0.2", 11211], "config_version": 3,
     "members": [{"name": "127.0.0.3", "address": "127.0.0.3", "port": 11211}],
     "tls": null}

`tls` is an object with the files `certificate` and `key`, and `authority` that signed the nodes'
certificates. The agent replaces the file as a whole; a file that makes no sense changes nothing.
"""

from __future__ import annotations

import json
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cachewright.discovery.answers import Member

_PORT_MAX = 65_535
#: A host name or an address; above all nothing that is a separator of the list.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")


class Unusable(Exception):
    """The file cannot be used; `str()` says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tls:
    """Files in PEM form."""

    certificate: str
    key: str
    authority: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What the file says."""

    listen: tuple[str, int]
    #: Grows by one with each change of the list.
    config_version: int
    members: tuple[Member, ...]
    tls: Tls | None = None


def read_settings(path: Path) -> Settings:
    """Read the file; raise `Unusable` if it is not there or makes no sense."""
    try:
        content = json.loads(path.read_bytes())
        address, port = content["listen"]
        config_version = content["config_version"]
        if type(config_version) is not int or config_version < 1:
            raise Unusable(f"config_version is not a number from 1 on: {config_version!r}")
        tls = content.get("tls")
        return Settings(
            listen=(_address(address), _port(port)),
            config_version=config_version,
            members=tuple(_member(member) for member in content["members"]),
            tls=None if tls is None else Tls(**tls),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unusable(f"{path.name}: {type(error).__name__}: {error}") from error


def _member(written: dict[str, Any]) -> Member:
    name = written["name"]
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise Unusable(f"no name of a node: {name!r}")
    return Member(name=name, address=_address(written["address"]), port=_port(written["port"]))


def _address(written: object) -> str:
    if not isinstance(written, str):
        raise Unusable(f"no address: {written!r}")
    return socket.inet_ntop(socket.AF_INET, socket.inet_pton(socket.AF_INET, written))


def _port(written: object) -> int:
    if type(written) is not int or not 1 <= written <= _PORT_MAX:
        raise Unusable(f"no port: {written!r}")
    return written
