"""What can go wrong, and whose turn is it?

    CachewrightError
    ├─ ClientFault      the caller can mend it; it carries the AWS code by name
    ├─ Retryable        the world may change: try again later
    ├─ Terminal         trying again cannot help: it becomes a status and an event
    └─ Bug              one of our own promises broke; logged, HTTP 500, never retried

A class exists only where somebody catches it. `ClientFault` holds AWS's code and the sentence;
HTTP statuses are the business of `protocol`.
"""

from __future__ import annotations


class CachewrightError(Exception):
    """The root; only its children are raised."""


class ClientFault(CachewrightError):
    """The caller asked for something that cannot be; `code` is AWS's code on the wire."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Retryable(CachewrightError):
    """It did not work now and may work later; `str()` says what was waited for."""


class Terminal(CachewrightError):
    """It cannot work; `hint` says what to do next, empty when nobody knows."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(f"{message} ({hint})" if hint else message)
        self.hint = hint


class Bug(CachewrightError):
    """A promise of this program broke; the values that show it are in the text."""


def invalid_value(message: str) -> ClientFault:
    """Return the error for a value that is wrong by itself."""
    return ClientFault("InvalidParameterValue", message)


def invalid_combination(message: str) -> ClientFault:
    """Return the error for values that are wrong together."""
    return ClientFault("InvalidParameterCombination", message)
