"""How is an answer written? Output dicts become the XML of the Query protocol.

Outputs are dicts by the model's member names; times are aware, enums plain strings. What the
output shape does not contain, or contains with another type, is a `Bug`: it would never reach a
client that parses by the same model. `None` is left out; an empty list or structure becomes an
empty element; members are written in the order of the dict, which clients ignore.

Each shape is compiled into a closure once. A caller may keep the bytes of `encode_result` and
put a new request id around them with `wrap_result`.
"""

from __future__ import annotations

import datetime
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from cachewright.protocol import service_model, text
from cachewright.protocol.errors import Bug, is_sender_status
from cachewright.protocol.service_model import Kind, ListShape, ScalarShape, StructureShape

CONTENT_TYPE = "text/xml"
XML_NAMESPACE = f"http://elasticache.amazonaws.com/doc/{service_model.API_VERSION}/"

Output: TypeAlias = Mapping[str, Any]

_Emit: TypeAlias = Callable[[str], None]
_Writer: TypeAlias = Callable[[Any, _Emit], None]


def encode_response(
    operation: service_model.Operation, output: Output | None, request_id: str
) -> bytes:
    """Return the body of a successful answer."""
    return wrap_result(operation, encode_result(operation, output), request_id)


def encode_result(operation: service_model.Operation, output: Output | None) -> bytes:
    """Return the part of a body that does not depend on the request: `<...Result>`."""
    if operation.output is None or operation.result_wrapper is None:
        if output:
            raise Bug(f"{operation.name} has no output, but got {sorted(output)}")
        return b""
    pieces: list[str] = []
    _compile(operation.result_wrapper, operation.output)(output or {}, pieces.append)
    return "".join(pieces).encode()


def wrap_result(operation: service_model.Operation, result: bytes, request_id: str) -> bytes:
    """Return a body around a result that `encode_result` made for the same operation."""
    return b"".join(
        (
            f'<{operation.name}Response xmlns="{XML_NAMESPACE}">'.encode(),
            result,
            b"<ResponseMetadata><RequestId>",
            text.escape(request_id).encode(),
            f"</RequestId></ResponseMetadata></{operation.name}Response>".encode(),
        )
    )


def encode_error(code: str, message: str, http_status: int, request_id: str) -> bytes:
    """Return the body of an error."""
    fault = "Sender" if is_sender_status(http_status) else "Receiver"
    return (
        f'<ErrorResponse xmlns="{XML_NAMESPACE}"><Error><Type>{fault}</Type>'
        f"<Code>{text.escape(code)}</Code><Message>{text.escape(message)}</Message></Error>"
        f"<RequestId>{text.escape(request_id)}</RequestId></ErrorResponse>"
    ).encode()


# The model bounds both the number of shapes, hence the cache, and their depth.


@functools.cache
def _compile(tag: str, shape: service_model.Shape) -> _Writer:
    """Return the function that writes a value of this shape as an element of this name."""
    match shape:
        case ScalarShape(kind=Kind.STRING):
            return _compile_string(tag)
        case ScalarShape():
            return _compile_scalar(tag, shape)
        case ListShape():
            return _compile_list(tag, shape)
        case StructureShape():
            return _compile_structure(tag, shape)


def _compile_string(tag: str) -> _Writer:
    """Most values of an answer are strings without special characters; this is their short way."""
    opening, closing = f"<{tag}>", f"</{tag}>"
    has_special = text.special.search

    def write(value: Any, emit: _Emit) -> None:
        # Not isinstance: a member of an enum would be written by its Python name.
        if type(value) is not str:
            raise Bug(f"<{tag}> must be a string, not {type(value).__name__}")
        emit(f"{opening}{text.escape(value) if has_special(value) else value}{closing}")

    return write


def _compile_scalar(tag: str, shape: ScalarShape) -> _Writer:
    render = _RENDERERS[shape.kind]
    opening, closing = f"<{tag}>", f"</{tag}>"

    def write(value: Any, emit: _Emit) -> None:
        rendered = render(value)
        if rendered is None:
            raise Bug(f"<{tag}> must be a {shape.kind.value}, not {type(value).__name__}")
        emit(f"{opening}{rendered}{closing}")

    return write


def _compile_list(tag: str, shape: ListShape) -> _Writer:
    write_element = _compile(shape.element_name, shape.element)
    empty, opening, closing = f"<{tag}/>", f"<{tag}>", f"</{tag}>"

    def write(value: Any, emit: _Emit) -> None:
        if not isinstance(value, list | tuple):
            raise Bug(f"<{tag}> must be a list, not {type(value).__name__}")
        if not value:
            emit(empty)
            return
        emit(opening)
        for element in value:
            write_element(element, emit)
        emit(closing)

    return write


class Kept(dict[str, Any]):
    """A structure that is written into many answers: encoded once, never changed after that."""

    __slots__ = ("encoded",)

    def __init__(self, structure: Mapping[str, Any]) -> None:
        super().__init__(structure)
        #: What was written for it, by the name of the element and of its shape.
        self.encoded: dict[tuple[str, str], str] = {}


def _compile_structure(tag: str, shape: StructureShape) -> _Writer:
    write_anew = _compile_fresh_structure(tag, shape)
    key = (tag, shape.name)

    def write(value: Any, emit: _Emit) -> None:
        if type(value) is not Kept:
            write_anew(value, emit)
            return
        if key not in value.encoded:
            parts: list[str] = []
            write_anew(value, parts.append)
            value.encoded[key] = "".join(parts)
        emit(value.encoded[key])

    return write


def _compile_fresh_structure(tag: str, shape: StructureShape) -> _Writer:
    writers = {name: _compile(m.wire_name, m.shape) for name, m in shape.members.items()}
    empty, opening, closing = f"<{tag}/>", f"<{tag}>", f"</{tag}>"

    def write(value: Any, emit: _Emit) -> None:
        if not isinstance(value, Mapping):
            raise Bug(f"<{tag}> must be a structure, not {type(value).__name__}")
        if not value:
            emit(empty)
            return
        emit(opening)
        for name, part in value.items():
            write_member = writers.get(name)
            if write_member is None:
                raise Bug(f"{shape.name} has no member {name}")
            if part is not None:
                write_member(part, emit)
        emit(closing)

    return write


# Renderers return None for a value of the wrong type.


def _render_boolean(value: Any) -> str | None:
    if value is True:
        return "true"
    return "false" if value is False else None


def _render_integer(value: Any) -> str | None:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _render_double(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return repr(value)


def _render_timestamp(value: Any) -> str | None:
    if not isinstance(value, datetime.datetime) or value.tzinfo is None:
        return None
    utc = value.astimezone(datetime.UTC).replace(tzinfo=None)
    return f"{utc.isoformat(timespec='milliseconds')}Z"


_RENDERERS: Mapping[Kind, Callable[[Any], str | None]] = {
    Kind.BOOLEAN: _render_boolean,
    Kind.INTEGER: _render_integer,
    Kind.DOUBLE: _render_double,
    Kind.TIMESTAMP: _render_timestamp,
}
