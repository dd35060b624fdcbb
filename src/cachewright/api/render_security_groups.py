"""How does the API show cache security groups? Decides nothing, reads nothing but its arguments."""

from __future__ import annotations

from cachewright.api.render import Output
from cachewright.model.arns import Arns
from cachewright.model.security_groups import Ingress, SecurityGroup

_AUTHORIZED = "authorized"


def security_group(
    arns: Arns, group: SecurityGroup, *, changing: Ingress | None = None, status: str = _AUTHORIZED
) -> Output:
    """Return a `CacheSecurityGroup`, with `status` for the ingress that is just `changing`."""
    return {
        "OwnerId": arns.account_id,
        "CacheSecurityGroupName": group.name,
        "Description": group.description,
        "EC2SecurityGroups": [
            {
                "Status": status if ingress == changing else _AUTHORIZED,
                "EC2SecurityGroupName": ingress.name,
                "EC2SecurityGroupOwnerId": ingress.owner_id,
            }
            for ingress in group.ingress
        ],
        "ARN": arns.of_security_group(group.name),
    }
