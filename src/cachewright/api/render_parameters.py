"""How does the API show parameters and their groups? Reads nothing but its arguments."""

from __future__ import annotations

from collections.abc import Iterable

from cachewright.api.render import Output
from cachewright.model.arns import Arns
from cachewright.service.parameter_groups import KnownGroup
from cachewright.service.parameter_lists import ShownParameter

#: Versions of rows are major.minor where the engine's line is; the API shows three numbers.
_VERSION_PARTS = 3


def parameter_group(arns: Arns, group: KnownGroup) -> Output:
    """Return a `CacheParameterGroup`."""
    return {
        "CacheParameterGroupName": group.name,
        "CacheParameterGroupFamily": group.family,
        "Description": group.description,
        "IsGlobal": False,
        "ARN": arns.of_parameter_group(group.name),
    }


def parameters(shown: Iterable[ShownParameter]) -> Output:
    """Return `Parameters` and `CacheNodeTypeSpecificParameters`."""
    output: dict[str, list[Output]] = {"Parameters": [], "CacheNodeTypeSpecificParameters": []}
    for each in shown:
        if each.by_node_type:
            output["CacheNodeTypeSpecificParameters"].append(
                {
                    **_described(each),
                    "CacheNodeTypeSpecificValues": [
                        {"CacheNodeType": node_type, "Value": value}
                        for node_type, value in each.by_node_type
                    ],
                }
            )
        else:
            output["Parameters"].append({**_described(each), "ParameterValue": each.value or None})
    return {**output}


def _described(shown: ShownParameter) -> Output:
    row = shown.row
    version = row.since.split(".")
    return {
        "ParameterName": row.name,
        "Description": row.description,
        "Source": shown.source,
        "DataType": row.data_type.value,
        "AllowedValues": row.allowed,
        "IsModifiable": row.is_modifiable,
        "MinimumEngineVersion": ".".join([*version, "0"][:_VERSION_PARTS]),
        "ChangeType": row.change_type.value,
    }
