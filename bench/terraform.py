"""How long does Terraform take to plan and make a replication group, beside the time at AWS?

The example that the README shows, with Terraform and its provider as they are: of the time, 30 s
are the provider's own first wait, whoever answers it. AWS's time cannot be measured here; it is
the one that runs of the provider's own acceptance tests of a basic replication group recorded.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench import world
from bench.measure import Comparison, Figure, Skipped, Target, sample
from bench.processes import BenchFailed
from bench.world import Server, World, say
from tests.iac import iac_kit, terraform_kit

_EXAMPLE = iac_kit.EXAMPLES / "terraform" / "basic"
_WHAT = "Terraform: plan and apply a replication group of 2 nodes"
#: Recorded: 650 to 820 s. The fastest is the fairest.
_AWS_S = 650.0


def measure_terraform(within: World) -> Iterator[Figure | Skipped]:
    """Make the group of the example and remove it again, a few times."""
    if reason := terraform_kit.why_not():
        yield Skipped(key="terraform-basic", what=_WHAT, reason=reason)
        return
    ours, gone = [], []
    try:
        with world.running_server(within) as server:
            for number in within.rounds(3, 1):
                made_s, gone_s = _round(within, server)
                ours.append(made_s)
                gone.append(gone_s)
                say(f"  terraform {number + 1}: {made_s:.1f} s, destroy {gone_s:.1f} s")
    except iac_kit.ToolFailed as error:
        raise BenchFailed(str(error)) from error
    yield Figure(
        key="terraform-basic",
        what=_WHAT,
        ours=sample("s", ours),
        baseline_name="recorded at AWS, the fastest of 650 … 820 s",
        baseline=sample("s", [_AWS_S] * len(ours)),
        comparison=Comparison.RATIO,
        target=Target(bound=0.1, is_minimum=False),
        note="30 s of it the provider waits before it looks at all. "
        f"Destroy: {sample('s', gone).median:.0f} s.",
        details={"destroy_median_s": sample("s", gone).median},
    )


def _round(within: World, server: Server) -> tuple[float, float]:
    folder = within.fresh_folder()
    environment = iac_kit.environment(
        url=server.url,
        key_pair=(server.key_id, server.secret),
        region=world.REGION,
        home=folder,
    )
    terraform = terraform_kit.Terraform(_EXAMPLE, folder, environment)
    begin_s = time.monotonic()
    terraform.apply()
    made_s = time.monotonic() - begin_s
    terraform.destroy()
    return made_s, time.monotonic() - begin_s - made_s
