"""Which engines and versions can be had here, and which one does a new group get?

The answer comes from what the hosts offer, never from a list of what ElastiCache has: the version
that is asked for is the version that runs, or the error names the versions that are available.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cachewright.model import engines
from cachewright.model.engines import EngineLine, EngineName
from cachewright.model.errors import ClientFault, invalid_combination, invalid_value
from cachewright.rpc.agent import EngineOffer
from cachewright.service import rules
from cachewright.service.context import Service
from cachewright.service.inputs import DescribeCacheEngineVersions

_FULL_VERSION = re.compile(r"([0-9]{1,4}\.[0-9]{1,4})\.[0-9]{1,4}", re.ASCII)
#: What `CreateReplicationGroup` means when it names no engine.
_ENGINE_DEFAULT = "redis"
_GROUP_ENGINES = (EngineName.VALKEY, EngineName.REDIS)


@dataclass(frozen=True, kw_only=True, slots=True)
class OfferedLine:
    """A line of engines that can be had here."""

    line: EngineLine
    offer: EngineOffer


def offered(service: Service) -> tuple[OfferedLine, ...]:
    """Return every line that can be had, by engine and version."""
    return _offered(service.offers())


def _offered(offers: Sequence[EngineOffer]) -> tuple[OfferedLine, ...]:
    lines: dict[tuple[str, tuple[int, ...]], OfferedLine] = {}
    for offer in offers:
        line = engines.line_of(offer.engine, offer.api_version)
        if line is None:
            continue
        key = (line.engine.value, engines.version_key(line.api_version))
        if key not in lines or (offer.is_installed and not lines[key].offer.is_installed):
            lines[key] = OfferedLine(line=line, offer=offer)
    return tuple(lines[key] for key in sorted(lines))


def choose(service: Service, engine: str | None, version: str | None) -> EngineLine:
    """Return the line for a new group; without a version the newest one of the engine.

    Raises:
        ClientFault: there is no such engine or version here; the text names what there is.
    """
    name = _engine_name(engine or _ENGINE_DEFAULT, _GROUP_ENGINES, "A replication group runs")
    return _choose(service, name, version)


def choose_build(service: Service, engine: str, version: str | None) -> EngineLine:
    """Return the line of any engine, also of those that no replication group runs.

    Without a version it is the newest one of the engine.

    Raises:
        ClientFault: there is no such engine or version here; the text names what there is.
    """
    return _choose(service, _engine_name(engine, tuple(EngineName), "An engine is"), version)


def choose_install(service: Service, engine: str, version: str) -> EngineLine:
    """Return the line to install: also one that no host offers yet.

    A suite of the distribution that goes on may carry a later version by now; only a look tells.

    Raises:
        ClientFault: there can be no such engine or version here; the text names what there is.
    """
    name = _engine_name(engine, tuple(EngineName), "An engine is")
    return engines.line_of(name, version) or _choose(service, name, version)


def _choose(service: Service, name: EngineName, version: str | None) -> EngineLine:
    available = tuple(entry.line for entry in offered(service))
    own = [line for line in available if line.engine is name]
    if not version:
        if own:
            return own[-1]
        raise _not_available(f"Cannot find a version of {name.value}", available)
    for line in own:
        if line.api_version == version:
            return line
    full = _FULL_VERSION.fullmatch(version)
    if full is not None and engines.line_of(name, full[1]) is not None:
        raise invalid_value(
            f"Specific version selection is not allowed for '{version}', please use '{full[1]}'"
        )
    raise _not_available(f"Cannot find version {rules.shown(version)} for {name.value}", available)


def describe(
    service: Service, wanted: DescribeCacheEngineVersions
) -> tuple[tuple[str, OfferedLine], ...]:
    """Return (sort key, line) for every offered line that passes the filters, sorted."""
    lines = offered(service)
    if wanted.default_only:
        newest = {entry.line.engine: entry for entry in lines}
        lines = tuple(newest.values())
    return tuple((_sort_key(entry.line), entry) for entry in lines if _passes(entry.line, wanted))


def _passes(line: EngineLine, wanted: DescribeCacheEngineVersions) -> bool:
    filters = (
        (wanted.engine, line.engine.value),
        (wanted.engine_version, line.api_version),
        (wanted.cache_parameter_group_family, line.family),
    )
    return all(not value or value.lower() == there for value, there in filters)


def _engine_name(text: str, among: Sequence[EngineName], whose: str) -> EngineName:
    for name in among:
        if name.value == text.lower():
            return name
    names = " or ".join(name.value for name in among)
    raise invalid_value(f"Invalid value '{rules.shown(text)}' for Engine. {whose} {names}")


def _not_available(sentence: str, available: Sequence[EngineLine]) -> ClientFault:
    there = ", ".join(f"{line.engine.value} {line.api_version}" for line in available)
    return invalid_combination(f"{sentence}. Available here: {there or 'no engine at all'}")


def _sort_key(line: EngineLine) -> str:
    version = ".".join(f"{part:04}" for part in engines.version_key(line.api_version))
    return f"{line.engine.value} {version}"
