"""How does the API show subnet groups? Decides nothing and reads nothing but its arguments."""

from __future__ import annotations

from cachewright.api.render import Output
from cachewright.model.arns import Arns
from cachewright.model.subnet_groups import SubnetGroup

#: Nodes have IPv4 addresses.
_NETWORK_TYPES = ["ipv4"]


def subnet_group(arns: Arns, vpc_id: str, group: SubnetGroup) -> Output:
    """Return a `CacheSubnetGroup`."""
    return {
        "CacheSubnetGroupName": group.name,
        "CacheSubnetGroupDescription": group.description,
        "VpcId": vpc_id,
        "Subnets": [
            {
                "SubnetIdentifier": subnet.subnet_id,
                "SubnetAvailabilityZone": {"Name": subnet.zone},
                "SupportedNetworkTypes": _NETWORK_TYPES,
            }
            for subnet in group.subnets
        ],
        "ARN": arns.of_subnet_group(group.name),
        "SupportedNetworkTypes": _NETWORK_TYPES,
    }
