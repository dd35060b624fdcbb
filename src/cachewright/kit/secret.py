"""How does a secret travel without being shown? `Secret` hides itself from repr, str and logs."""

from __future__ import annotations

import hmac


class Secret:
    """A text whose `repr` and `str` never show it; `reveal()` is the one way out."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself; call it where it is used, and nowhere earlier."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash(self._text)
