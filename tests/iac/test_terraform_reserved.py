"""Does Terraform reserve nodes and look subnet groups up without drift?"""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from cachewright import testing
from tests.iac import iac_kit, terraform_kit
from tests.iac.terraform_kit import Terraform

pytestmark = [
    pytest.mark.skipif(
        terraform_kit.why_not() is not None, reason=terraform_kit.why_not() or "it can be used"
    ),
    pytest.mark.slow(90),
    # The provider waits 30 s for a reservation, and starts five times.
    pytest.mark.timeout(300),
]


def test_a_reservation_applies_and_plans_no_changes(
    service: testing.Service, tmp_path: Path
) -> None:
    reservation = f"r-{secrets.token_hex(4)}"
    terraform = Terraform(
        iac_kit.EXAMPLES / "terraform" / "reserved",
        tmp_path,
        iac_kit.environment_of(service, tmp_path),
        reservation=reservation,
    )
    assert "2 added, 0 changed, 0 destroyed" in terraform.apply()
    assert terraform.plan() == ""
    assert len(terraform.output("vpcs")) == 1
    api = service.client()
    (reserved,) = api.describe_reserved_cache_nodes(ReservedCacheNodeId=reservation)[
        "ReservedCacheNodes"
    ]
    assert (reserved["CacheNodeCount"], reserved["State"]) == (2, "active")
    terraform.destroy()
    left = api.describe_cache_subnet_groups()["CacheSubnetGroups"]
    assert f"reserved-{reservation}" not in [group["CacheSubnetGroupName"] for group in left]
