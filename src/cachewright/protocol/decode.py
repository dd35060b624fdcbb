"""What does the caller ask for? Query-protocol bytes become an operation and a typed dict.

Called once per request, after the signature was verified. It knows names and types; whether a
value is allowed is `check`'s question. Any bytes give a `Call` or a `WireError`.

Decisions where AWS is silent or lenient:

- Fields may come in the URL, in the body, or in both; the same name twice is
  `InvalidQueryParameter`, because servers that take the first and servers that take the last
  would disagree about what was signed for.
- Unknown names are ignored as AWS does, since SDKs newer than the model send them. A name that
  begins like a known list but does not continue as `.<element>.<n>` is refused: ignoring it would
  drop values that the caller believes to have sent.
- List elements are called by the model's name or `member`. Holes (1, 3) are closed and the order
  is kept, as AWS does: nothing is invented and nothing lost. 0, leading zeros and indexes of
  more than five digits are refused: no SDK sends them, and `01` would be an alias of `1`.
- `Name=` is an empty string, an empty list or an empty structure.
- Booleans are `true` or `false` in any case of letters; integers have 32 bits as in the model.
- Texts with control characters that XML 1.0 cannot carry are `InvalidParameterValue`.
- A body of another content type than a form is `InvalidQueryParameter`; none at all is accepted.

https://docs.aws.amazon.com/AmazonElastiCache/latest/APIReference/Welcome.html (Query API)
"""

from __future__ import annotations

import dataclasses
import datetime
import math
import re
import urllib.parse
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from cachewright.protocol import service_model, text
from cachewright.protocol.errors import WireError
from cachewright.protocol.service_model import Kind, ListShape, ScalarShape, StructureShape

#: Typed parameters by the model's member names.
Params: TypeAlias = dict[str, Any]

#: Bytes of a request body. A create of 500 shards with everything given takes less than 200 KiB.
BODY_BYTES_MAX = 1024 * 1024

#: Fields of a request. The largest sensible one, 500 shards with 5 zones each, has about 5,000.
_FIELDS_MAX = 10_000

#: Characters of a field's name; the longest in the model is under 200.
_NAME_CHARS_MAX = 512

#: Dots in a name; the model nests 7 shapes deep and a list takes two segments.
_SEGMENTS_MAX = 16

_FORM_MEDIA_TYPE = "application/x-www-form-urlencoded"

_INTEGER_MIN, _INTEGER_MAX = -(2**31), 2**31 - 1

_broken_percent = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_list_index = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)
_integer = re.compile(r"-?[0-9]{1,10}", re.ASCII)
_double = re.compile(r"-?[0-9]{1,400}(\.[0-9]{1,400})?([eE][-+]?[0-9]{1,3})?", re.ASCII)
_timestamp = re.compile(
    r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[-+]\d{2}:\d{2})", re.ASCII
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """An operation and what it is asked to do."""

    operation: service_model.Operation
    params: Params


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Field:
    """One `name=value` of the request."""

    name: str
    value: str


def decode(
    model: service_model.ServiceModel,
    *,
    query: bytes,
    body: bytes,
    content_type: str | None,
) -> Call:
    """Return the call that a request carries.

    `query` is the raw query string without its question mark, `body` the raw body and
    `content_type` the value of that header.
    """
    fields = parse_fields(query=query, body=body, content_type=content_type)
    action = fields.get("Action", "")
    if not action:
        raise WireError("MissingAction", "The request must contain the parameter Action.")
    operation = model.operations.get(action)
    version = fields.get("Version", "")
    if operation is None or version != model.api_version:
        raise WireError(
            "InvalidAction",
            f"Could not find operation {text.shorten(action)} for version "
            f"{text.shorten(version) or 'NO_VERSION_SPECIFIED'}",
        )
    return Call(operation=operation, params=decode_params(operation.input, fields))


def parse_fields(*, query: bytes, body: bytes, content_type: str | None) -> dict[str, str]:
    """Return the fields of URL and body by name; syntax errors are `WireError`s."""
    if len(body) > BODY_BYTES_MAX or len(query) > BODY_BYTES_MAX:
        raise WireError(
            "RequestEntityTooLarge", f"A request may have at most {BODY_BYTES_MAX} bytes."
        )
    if body:
        _require_form(content_type)
    if query.count(b"&") + body.count(b"&") >= _FIELDS_MAX:
        raise WireError(
            "InvalidQueryParameter", f"A request may have at most {_FIELDS_MAX} parameters."
        )
    fields: dict[str, str] = {}
    for raw in (query, body):
        for name, value in _split(raw):
            if name in fields:
                raise WireError(
                    "InvalidQueryParameter",
                    f"The parameter {text.shorten(name)} was given more than once.",
                )
            fields[name] = value
    return fields


def decode_params(shape: StructureShape, fields: dict[str, str]) -> Params:
    """Return the typed parameters of an operation's input; other fields are left out."""
    root: dict[str, Any] = {}
    for name, value in fields.items():
        segments = name.split(".", _SEGMENTS_MAX)
        if segments[0] in shape.members_by_wire_name:
            _grow(root, shape, segments, _Field(name=name, value=value))
    return {name: _settle(node, shape.members[name].shape) for name, node in root.items()}


def _require_form(content_type: str | None) -> None:
    media_type = (content_type or "").partition(";")[0].strip().lower()
    if media_type not in ("", _FORM_MEDIA_TYPE):
        raise WireError(
            "InvalidQueryParameter",
            f"The content type of the body must be {_FORM_MEDIA_TYPE}, "
            f"not {text.shorten(media_type)}.",
        )


def _split(raw: bytes) -> Iterable[tuple[str, str]]:
    """Yield the decoded names and values of a form."""
    if _broken_percent.search(raw):
        raise WireError("MalformedQueryString", "A percent sign must begin an escape such as %20.")
    try:
        for pair in raw.decode().split("&"):
            name, _, value = pair.partition("=")
            if len(name) > _NAME_CHARS_MAX:
                raise WireError(
                    "InvalidQueryParameter",
                    f"The name of a parameter may have at most {_NAME_CHARS_MAX} characters.",
                )
            if pair:
                yield _unquote(name), _unquote(value)
    except UnicodeDecodeError:
        raise WireError(
            "MalformedQueryString", "The parameters must be encoded as UTF-8."
        ) from None


def _unquote(quoted: str) -> str:
    if "%" not in quoted and "+" not in quoted:
        return quoted
    return urllib.parse.unquote(quoted.replace("+", " "), errors="strict")


# While fields arrive, a structure is a dict by member name and a list a dict by index, so that
# elements may come in any order. `_settle` turns the latter into lists. Both recursions follow
# the shapes, whose depth the model bounds.


def _grow(
    held: Any, shape: service_model.Shape, segments: Sequence[str], field: _Field
) -> Any | None:
    """Return what is held for the shape with the field put into it; None if it has no place."""
    match shape:
        case ScalarShape():
            if segments:
                return held
            if held is not None:
                raise _given_twice(field)
            return _parse_scalar(shape, field)
        case ListShape():
            return _grow_list(held, shape, segments, field)
        case StructureShape():
            if not segments:
                return _empty(held, field)
            member = shape.members_by_wire_name.get(segments[0])
            if member is None:
                return held
            return _put(held, member.name, member.shape, segments[1:], field)


def _grow_list(held: Any, shape: ListShape, segments: Sequence[str], field: _Field) -> Any | None:
    if not segments:
        return _empty(held, field)
    name, *rest = segments
    if name not in (shape.element_name, service_model.ELEMENT_NAME_DEFAULT) or not rest:
        raise _not_an_element(shape, field)
    if not _list_index.fullmatch(rest[0]):
        raise _not_an_element(shape, field)
    return _put(held, int(rest[0]), shape.element, rest[1:], field)


def _put(
    held: Any,
    key: str | int,
    shape: service_model.Shape,
    segments: Sequence[str],
    field: _Field,
) -> Any | None:
    """Return the container with the field below its key; unchanged if it has no place there."""
    container = {} if held is None else held
    grown = _grow(container.get(key), shape, segments, field)
    if grown is None:
        return held
    container[key] = grown
    return container


def _empty(held: Any, field: _Field) -> Any:
    """Accept `Name=` for an empty list or structure."""
    if field.value:
        raise WireError(
            "InvalidParameterValue",
            f"The parameter {text.shorten(field.name)} cannot be given as a single value.",
        )
    return {} if held is None else held


def _settle(node: Any, shape: service_model.Shape) -> Any:
    match shape:
        case ScalarShape():
            return node
        case ListShape():
            return [_settle(node[index], shape.element) for index in sorted(node)]
        case StructureShape():
            return {name: _settle(part, shape.members[name].shape) for name, part in node.items()}


def _parse_scalar(shape: ScalarShape, field: _Field) -> Any:
    value = field.value
    match shape.kind:
        case Kind.STRING:
            if not text.is_sayable(value):
                raise WireError(
                    "InvalidParameterValue",
                    f"The parameter {text.shorten(field.name)} contains a control character.",
                )
            return value
        case Kind.BOOLEAN:
            return _parse_boolean(field)
        case Kind.INTEGER:
            if _integer.fullmatch(value) and _INTEGER_MIN <= int(value) <= _INTEGER_MAX:
                return int(value)
            raise _bad_value(field, "a 32-bit integer")
        case Kind.DOUBLE:
            if _double.fullmatch(value) and math.isfinite(number := float(value)):
                return number
            raise _bad_value(field, "a number")
        case Kind.TIMESTAMP:
            return _parse_timestamp(field)


def _parse_boolean(field: _Field) -> bool:
    match field.value.lower():
        case "true":
            return True
        case "false":
            return False
        case _:
            raise _bad_value(field, "true or false")


def _parse_timestamp(field: _Field) -> datetime.datetime:
    if _timestamp.fullmatch(field.value):
        try:
            return datetime.datetime.fromisoformat(field.value).astimezone(datetime.UTC)
        except (ValueError, OverflowError):
            pass  # a 13th month, or an offset that leaves the years 1 to 9999
    raise _bad_value(field, "a time such as 2026-01-02T03:04:05Z")


def _bad_value(field: _Field, expected: str) -> WireError:
    return WireError(
        "InvalidParameterValue",
        f"The value '{text.shorten(field.value)}' of the parameter {text.shorten(field.name)} "
        f"is not valid: it must be {expected}.",
    )


def _given_twice(field: _Field) -> WireError:
    return WireError(
        "InvalidQueryParameter",
        f"The parameter {text.shorten(field.name)} was given more than once.",
    )


def _not_an_element(shape: ListShape, field: _Field) -> WireError:
    return WireError(
        "InvalidQueryParameter",
        f"The parameter {text.shorten(field.name)} must name elements of its list as "
        f".{shape.element_name}.1, .{shape.element_name}.2 and so on.",
    )
