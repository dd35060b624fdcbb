"""What can be done with a part of what a client sent? The values between `requests` and `relay`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from cachewright.discovery.answers import Question


@dataclass(frozen=True, slots=True)
class Relay:
    """Bytes that a node has to answer: whole commands, or a part of a long one."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Ask:
    """The list of nodes is wanted."""

    question: Question
    #: What a binary request wants back.
    opaque: bytes = b""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that needs neither list nor node."""

    data: bytes
    #: The connection ends after it.
    closes: bool = False


@dataclass(frozen=True, slots=True)
class Quit:
    """The client is done; `data` is how it said so."""

    data: bytes


Action: TypeAlias = "Relay | Ask | Reply | Quit"
#: Up to where the buffer is settled, and what that is; `None` says that nothing is to be done.
Scanned: TypeAlias = "tuple[int, Action | None]"
