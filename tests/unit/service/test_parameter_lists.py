"""Which parameters are shown of a group and of a family, and with which values?"""

from __future__ import annotations

from pathlib import Path

import pytest

from cachewright.model.errors import ClientFault
from cachewright.model.node_types import NODE_TYPES
from cachewright.model.parameters import FAMILIES, parameters_of_family
from cachewright.service import parameter_lists
from cachewright.service.inputs_parameters import (
    DescribeCacheParameters,
    DescribeEngineDefaultParameters,
)
from tests.unit.service.service_world import World, run
from tests.unit.service.test_parameter_groups import create


def of_group(
    world: World, name: str, source: str | None = None
) -> dict[str, parameter_lists.ShownParameter]:
    wanted = DescribeCacheParameters(cache_parameter_group_name=name, source=source)
    return {shown.key: shown for shown in parameter_lists.of_group(world.service, wanted)}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_shows_every_parameter(family: str) -> None:
    wanted = DescribeEngineDefaultParameters(cache_parameter_group_family=family)
    shown = parameter_lists.of_family(wanted)
    assert [each.key for each in shown] == sorted({each.key for each in shown})
    assert {each.row.name for each in shown} == set(parameters_of_family(family))
    assert {each.source for each in shown} == {"system"}
    assert all((each.value is None) is bool(each.by_node_type) for each in shown)


def test_an_unknown_family_is_refused() -> None:
    wanted = DescribeEngineDefaultParameters(cache_parameter_group_family="redis99")
    with pytest.raises(ClientFault, match="redis99 is not a valid parameter group family"):
        parameter_lists.of_family(wanted)


def test_what_depends_on_the_node_type_is_shown_for_each() -> None:
    wanted = DescribeEngineDefaultParameters(cache_parameter_group_family="redis7")
    shown = {each.key: each for each in parameter_lists.of_family(wanted)}
    memory = shown["maxmemory/types"]
    assert dict(memory.by_node_type)["cache.t4g.micro"] == "536870912"
    assert len(memory.by_node_type) == len(NODE_TYPES)
    assert "maxmemory/" not in shown
    assert shown["maxclients/"].value == "65000"
    few = dict(shown["maxclients/types"].by_node_type)
    assert (few["cache.t3.micro"], "cache.m7g.large" in few) == ("20000", False)


def test_sources_tell_whose_choice_a_value_is(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await create(world, timeout="20", tcp_keepalive="300")
        everything = of_group(world, "MINE")
        assert everything["timeout/"].value == "20"
        assert everything["cluster-enabled/"].value == "no"
        users = of_group(world, "mine", "user")
        # Also what a caller set to its default.
        assert set(users) == {"timeout/", "tcp-keepalive/"}
        system = of_group(world, "mine", "system")
        assert set(system) | set(users) == set(everything)
        assert not set(system) & set(users)
        assert of_group(world, "mine", "engine-default") == {}
        on = of_group(world, "default.valkey9.cluster.on")
        assert (on["cluster-enabled/"].value, on["cluster-enabled/"].source) == ("yes", "system")
        with pytest.raises(ClientFault, match="Invalid value mine for Source"):
            of_group(world, "mine", "mine")
        with pytest.raises(ClientFault, match=r"CacheParameterGroup other not found\."):
            of_group(world, "other")

    run(tmp_path, scenario)
