"""What does the API consist of? botocore's model of ElastiCache as frozen shapes.

Read once from the data files of the pinned botocore. botocore's own model classes are not used:
importing them costs 150 ms and 16 MB at every start, and the Query protocol of this service
needs only seven kinds of shape. Deviations are listed in `overlay.json`, each with its source.

No shape refers to itself, which bounds every walk over shapes; loading proves it.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import gzip
import json
import pathlib
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import botocore

API_VERSION = "2015-02-02"
SERVICE_NAME = "elasticache"

#: What the members of an unnamed list are called on the wire (Query protocol).
ELEMENT_NAME_DEFAULT = "member"

#: Shapes nest less deep than this in every version of the model so far (7); more means a cycle.
_DEPTH_MAX = 16

_Raw: TypeAlias = dict[str, Any]


class Kind(enum.Enum):
    """The types of a single value."""

    STRING = "string"
    BOOLEAN = "boolean"
    INTEGER = "integer"
    DOUBLE = "double"
    TIMESTAMP = "timestamp"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ScalarShape:
    """A single value and its constraints."""

    name: str
    kind: Kind
    enum: tuple[str, ...] = ()
    #: What the model says, for error texts.
    pattern: str | None = None
    #: What is matched, always against the whole value.
    regex: re.Pattern[str] | None = None
    #: Characters of a string, else the value itself.
    minimum: float | None = None
    maximum: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ListShape:
    """A list; `minimum` and `maximum` count elements."""

    name: str
    element: Shape
    element_name: str
    minimum: int | None = None
    maximum: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Member:
    """A named part of a structure."""

    name: str
    #: Its name in requests and XML. It differs from `name` where the model gives a location name
    #: to the member or to its shape, as botocore reads it.
    wire_name: str
    shape: Shape
    #: The value is a secret: never show it.
    is_sensitive: bool


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StructureShape:
    """Named members."""

    name: str
    members: Mapping[str, Member]
    members_by_wire_name: Mapping[str, Member]
    required: tuple[str, ...]


Shape: TypeAlias = ScalarShape | ListShape | StructureShape


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """An error that the model declares."""

    code: str
    shape_name: str
    http_status: int
    is_sender: bool


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Operation:
    """One action of the API."""

    name: str
    input: StructureShape
    #: None for the three operations that answer nothing but a request id.
    output: StructureShape | None
    result_wrapper: str | None
    #: Wire codes of the errors that the model declares for this operation.
    fault_codes: frozenset[str]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ServiceModel:
    """The whole API."""

    api_version: str
    xml_namespace: str
    operations: Mapping[str, Operation]
    #: By wire code.
    faults: Mapping[str, Fault]


@functools.cache
def load_service_model() -> ServiceModel:
    """Return the model of the pinned botocore with the overlay applied; reads files once."""
    raw = _read_raw()
    _apply_overlay(raw)
    shapes = _ShapeTable(raw["shapes"])
    faults = {
        fault.code: fault for name, shape in raw["shapes"].items() if (fault := _fault(name, shape))
    }
    return ServiceModel(
        api_version=raw["metadata"]["apiVersion"],
        xml_namespace=raw["metadata"]["xmlNamespace"],
        operations=MappingProxyType(
            {name: _operation(name, entry, shapes) for name, entry in raw["operations"].items()}
        ),
        faults=MappingProxyType(faults),
    )


def _read_raw() -> _Raw:
    folder = pathlib.Path(botocore.BOTOCORE_ROOT, "data", SERVICE_NAME, API_VERSION)
    raw: _Raw = json.loads(gzip.decompress((folder / "service-2.json.gz").read_bytes()))
    return raw


def _apply_overlay(raw: _Raw) -> None:
    for entry in json.loads(pathlib.Path(__file__).with_name("overlay.json").read_bytes()):
        *parents, last = entry["path"]
        functools.reduce(lambda node, key: node[key], parents, raw)[last] = entry["value"]


def _operation(name: str, raw: _Raw, shapes: _ShapeTable) -> Operation:
    output = raw.get("output")
    return Operation(
        name=name,
        input=shapes.structure(raw["input"]["shape"]),
        output=shapes.structure(output["shape"]) if output else None,
        result_wrapper=output["resultWrapper"] if output else None,
        fault_codes=frozenset(shapes.fault_code(error["shape"]) for error in raw.get("errors", ())),
    )


def _fault(name: str, raw: _Raw) -> Fault | None:
    if not raw.get("exception"):
        return None
    error = raw["error"]
    return Fault(
        code=error["code"],
        shape_name=name,
        http_status=error["httpStatusCode"],
        is_sender=error["senderFault"],
    )


class _ShapeTable:
    """Builds each named shape once."""

    def __init__(self, raw: _Raw) -> None:
        self._raw = raw
        self._built: dict[str, Shape] = {}

    def structure(self, name: str) -> StructureShape:
        shape = self._shape(name, depth=0)
        if not isinstance(shape, StructureShape):
            raise TypeError(f"the service model has {name} as {shape!r}, not as a structure")
        return shape

    def fault_code(self, name: str) -> str:
        code: str = self._raw[name]["error"]["code"]
        return code

    def _shape(self, name: str, *, depth: int) -> Shape:
        if depth > _DEPTH_MAX:
            raise ValueError(f"the service model nests deeper than {_DEPTH_MAX} shapes at {name}")
        if name not in self._built:
            self._built[name] = self._build(name, self._raw[name], depth + 1)
        return self._built[name]

    def _build(self, name: str, raw: _Raw, depth: int) -> Shape:
        match raw["type"]:
            case "structure":
                members = {
                    member: self._member(member, ref, depth)
                    for member, ref in raw["members"].items()
                }
                return StructureShape(
                    name=name,
                    members=MappingProxyType(members),
                    members_by_wire_name=MappingProxyType(
                        {member.wire_name: member for member in members.values()}
                    ),
                    required=tuple(raw.get("required", ())),
                )
            case "list":
                return ListShape(
                    name=name,
                    element=self._shape(raw["member"]["shape"], depth=depth),
                    element_name=raw["member"].get("locationName", ELEMENT_NAME_DEFAULT),
                    minimum=raw.get("min"),
                    maximum=raw.get("max"),
                )
            case kind:
                return _scalar(name, Kind(kind), raw)

    def _member(self, name: str, ref: _Raw, depth: int) -> Member:
        target = self._raw[ref["shape"]]
        return Member(
            name=name,
            wire_name=ref.get("locationName", target.get("locationName", name)),
            shape=self._shape(ref["shape"], depth=depth),
            is_sensitive=ref.get("sensitive", target.get("sensitive", False)),
        )


def _scalar(name: str, kind: Kind, raw: _Raw) -> ScalarShape:
    pattern = raw.get("pattern")
    regex = raw.get("regex", pattern)
    return ScalarShape(
        name=name,
        kind=kind,
        enum=tuple(raw.get("enum", ())),
        pattern=pattern,
        # ASCII as in Java, where the patterns are written for: \d is 0-9 only.
        regex=re.compile(regex, re.ASCII) if regex is not None else None,
        minimum=raw.get("min"),
        maximum=raw.get("max"),
    )
