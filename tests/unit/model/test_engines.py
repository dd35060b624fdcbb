"""What the API calls a version, and which versions have a line without a row."""

from __future__ import annotations

import pytest

from cachewright.model.engines import EngineName, api_version_of, line_of


@pytest.mark.parametrize(
    ("engine", "version", "expected"),
    [
        (EngineName.VALKEY, "9.1.2", "9.1"),
        (EngineName.REDIS, "7.0.15", "7.0"),
        (EngineName.MEMCACHED, "1.6.18", "1.6.18"),
    ],
)
def test_the_api_names_major_minor_and_all_of_memcached(
    engine: EngineName, version: str, expected: str
) -> None:
    assert api_version_of(engine, version) == expected


@pytest.mark.parametrize(
    ("engine", "version", "family"),
    [
        (EngineName.MEMCACHED, "1.6.18", "memcached1.6"),
        (EngineName.MEMCACHED, "1.6.12", "memcached1.6"),
        (EngineName.MEMCACHED, "1.6.9999", "memcached1.6"),
        (EngineName.MEMCACHED, "1.6.11", None),
        (EngineName.MEMCACHED, "1.7.0", None),
        (EngineName.MEMCACHED, "1.6", None),
        (EngineName.MEMCACHED, "1.6.18.1", None),
        (EngineName.MEMCACHED, "1.6.\N{ARABIC-INDIC DIGIT TWO}0", None),
        (EngineName.MEMCACHED, "", None),
        (EngineName.REDIS, "1.6.18", None),
        (EngineName.VALKEY, "9.1", "valkey9"),
        (EngineName.VALKEY, "9.1.2", None),
    ],
)
def test_a_release_of_memcached_that_is_in_no_row_has_a_line(
    engine: EngineName, version: str, family: str | None
) -> None:
    line = line_of(engine, version)
    assert (line and line.family) == family
    if line is not None:
        assert (line.engine, line.api_version) == (engine, version)
