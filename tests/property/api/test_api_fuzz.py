"""Does any request at all make the service fail? Generated and mutated requests, signed.

The requests are made from the service model, with values that lead deep into the handlers (ids
that exist, versions that are offered, slots that nearly fit) beside values that make no sense.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
import urllib.parse
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cachewright.api import faults, operations
from cachewright.api.app import App
from cachewright.kit.clock import SystemClock
from cachewright.model.engines import EngineName
from cachewright.model.reservations import offerings
from cachewright.model.settings import Limits, Settings
from cachewright.protocol.service_model import (
    API_VERSION,
    Kind,
    ListShape,
    ScalarShape,
    Shape,
    load_service_model,
)
from cachewright.service import (
    reserved_nodes,
    security_groups,
    service_updates,
    subnet_groups,
    unoffered,
)
from cachewright.service.context import Service
from cachewright.service.inputs_reserved_nodes import PurchaseReservedCacheNodesOffering
from cachewright.service.inputs_security_groups import CreateCacheSecurityGroup
from cachewright.service.inputs_subnet_groups import CreateCacheSubnetGroup
from cachewright.store.records import Records
from cachewright.store.sqlite import SqliteStore
from tests.unit.api.api_caller import FORM, Answer, app_of, ask_signed
from tests.unit.service.service_world import OFFERS, World, no_look, offer

MODEL = load_service_model()
NAMESPACE = f"{{http://elasticache.amazonaws.com/doc/{API_VERSION}/}}"
ARN = "arn:aws:elasticache:us-east-1:000000000000"
#: What `add_furniture` makes.
UPDATE = "elasticache-valkey-9-1-9"
OFFERING = next(iter(offerings()))
#: Values that mean something to some handler, and values that mean something to nobody.
TEXTS = [
    "demo", "DEMO", "demo-001", "many", "many-0001-001", "valkey", "redis", "memcached", "9.1",
    "8.1", "9.1.2", "7.0", "cache.t4g.micro", "cache.r7g.large", "default", "default.valkey9",
    "default.valkey9.cluster.on", "default.redis7", "valkey9", "us-east-1a", "us-east-1b", "0001",
    "2", "0-8191", "8192-16383", "0-16383", "sun:05:00-sun:06:00", "05:00-06:00", "enabled",
    "disabled", "compatible", "replication-group", "cache-cluster", "active", "inactive", "ipv4",
    "sg-0123456789", f"{ARN}:replicationgroup:demo", f"{ARN}:cluster:many-0001-001",
    f"{ARN}:snapshot:x", f"{ARN}:subnetgroup:nets", f"{ARN}:securitygroup:wall",
    f"{ARN}:reserved-instance:kept",
    "arn:aws:sns:us-east-1:000000000000:topic", "aws:tag", "key", "", " ",
    "\0", "\r\nsave 1 1", "../../etc/passwd", "<x/>", "&amp;", "\N{GRINNING FACE}", "a" * 300,
    "a--b", "-", "%", "\u2028", "\ufffe", "{}", "None", "true", "1e999", "0x10",
]  # fmt: skip
NUMBERS = ["-1", "0", "1", "2", "3", "6", "20", "50", "100", "1000000000", "2147483647", "-0"]
TIMES = ["2026-01-02T03:04:05Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z", "yesterday"]


@dataclasses.dataclass(frozen=True)
class Bench:
    """The application, in an event loop that outlives each example."""

    loop: asyncio.AbstractEventLoop
    app: App

    def post(self, body: bytes, content_type: str = FORM) -> Answer:
        return self.loop.run_until_complete(
            ask_signed(self.app, "POST", "/", body, content_type=content_type)
        )

    def get(self, path: str) -> Answer:
        return self.loop.run_until_complete(ask_signed(self.app, "GET", path))


async def add_furniture(service: Service) -> None:
    """Make one of each kind that stands around groups, and an update for both groups."""
    await subnet_groups.create(
        service,
        CreateCacheSubnetGroup(
            cache_subnet_group_name="nets",
            cache_subnet_group_description="d",
            subnet_ids=("subnet-01234567", "subnet-89abcdef"),
        ),
    )
    await security_groups.create(
        service, CreateCacheSecurityGroup(cache_security_group_name="wall", description="d")
    )
    await reserved_nodes.purchase(
        service,
        PurchaseReservedCacheNodesOffering(
            reserved_cache_nodes_offering_id=OFFERING, reserved_cache_node_id="kept"
        ),
    )
    newer = (offer(EngineName.VALKEY, "9.1.9"),)
    (update,) = await service_updates.notice(dataclasses.replace(service, offers=lambda: newer))
    assert update.name == UPDATE


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder: Path = tmp_path_factory.mktemp("fuzz")
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        store = loop.run_until_complete(SqliteStore.open(folder / "state" / "store.db"))
        service = Service(
            records=Records(store),
            settings=Settings(state_dir=folder, limits=Limits(nodes_per_region=400)),
            clock=SystemClock(),
            offers=lambda: OFFERS,
            address_capacity=lambda: 10_000,
            usage=lambda uid: {},
            look=no_look,
            wake=lambda uid: None,
        )
        world = World(service=service, clock=service.clock, woken=[])

        async def fill() -> None:
            await world.create_available(num_cache_clusters=2)
            await world.create_available(replication_group_id="many", num_node_groups=2)
            await add_furniture(service)

        loop.run_until_complete(fill())
        yield Bench(loop, app_of(world))
        loop.run_until_complete(store.close())


#: What these parameters mostly get, so that requests pass the first checks and meet the others.
HINTS = {
    "ReplicationGroupId": ["demo", "DEMO", "many", "fresh-1", "fresh-2", "nobody"],
    "CacheClusterId": ["demo-001", "demo-002", "many-0001-001", "nobody"],
    "ResourceName": [
        f"{ARN}:replicationgroup:demo",
        f"{ARN}:cluster:many-0001-001",
        f"{ARN}:subnetgroup:nets",
        f"{ARN}:securitygroup:wall",
        f"{ARN}:reserved-instance:kept",
        f"{ARN}:parametergroup:default.valkey9",
    ],
    "ReplicationGroupDescription": ["a group"],
    "Engine": ["valkey", "redis"],
    "EngineVersion": ["9.1", "8.1", "7.0"],
    "CacheNodeType": ["cache.t4g.micro", "cache.r7g.large"],
    "CacheParameterGroupName": ["default.valkey9", "default.valkey9.cluster.on"],
    "Slots": ["0-8191", "8192-16383"],
    "AvailabilityZone": ["us-east-1a", "us-east-1b", "us-east-1c"],
    "AtRestEncryptionEnabled": ["false"],
    "TransitEncryptionEnabled": ["false"],
    "SnapshotRetentionLimit": ["0"],
    "NumNodeGroups": ["1", "2", "3"],
    "NumCacheClusters": ["1", "2", "3"],
    "ReplicasPerNodeGroup": ["0", "1", "2"],
    "Key": ["a", "b"],
    "CacheSubnetGroupName": ["nets", "Default", "fresh", "nobody"],
    "CacheSubnetGroupDescription": ["subnets"],
    "SubnetIdentifier": ["subnet-01234567", "subnet-89abcdef", "subnet-0123456789abcdef0"],
    "CacheSecurityGroupName": ["wall", "default", "fresh", "nobody"],
    "Description": ["d"],
    "EC2SecurityGroupName": ["web", "db"],
    "EC2SecurityGroupOwnerId": ["123456789012", "1"],
    "ReservedCacheNodesOfferingId": [OFFERING, "nobody"],
    "ReservedCacheNodeId": ["kept", "fresh", "nobody"],
    "CacheNodeCount": ["1", "2", "300"],
    "OfferingType": ["All Upfront", "Heavy Utilization"],
    "ProductDescription": ["valkey", "memcached"],
    "Duration": ["1", "3", "31536000", "60"],
    "ServiceUpdateName": [UPDATE, "nobody"],
    "ReplicationGroupIds": ["demo", "many", "nobody"],
    "CacheClusterIds": ["demo-001", "nobody"],
    "MaxRecords": ["20", "50"],
}  # fmt: skip


def value_of(shape: ScalarShape, name: str, rng: random.Random) -> str:
    if name in HINTS and rng.random() < 0.8:
        return rng.choice(HINTS[name])
    if rng.random() < 0.05:
        return rng.choice(TEXTS) + chr(rng.randrange(0x20, 0xD800))
    match shape.kind:
        case Kind.BOOLEAN:
            return rng.choice(["true", "false", "TRUE", "False"])
        case Kind.INTEGER:
            return rng.choice([*NUMBERS, str(rng.getrandbits(40))])
        case Kind.DOUBLE:
            return rng.choice([*NUMBERS, "1.5", "nan", "-1e300"])
        case Kind.TIMESTAMP:
            return rng.choice(TIMES)
        case Kind.STRING:
            return rng.choice(shape.enum or TEXTS)


def fields(shape: Shape, path: str, rng: random.Random, *, density: float) -> list[tuple[str, str]]:
    """Return the form fields of a value of this shape; the depth of shapes bounds the recursion."""
    if isinstance(shape, ScalarShape):
        words = [word for word in path.split(".") if not word.isdigit() and word != "member"]
        return [(path, value_of(shape, words[-1], rng))]
    if isinstance(shape, ListShape):
        element = shape.element_name if rng.random() < 0.8 else "member"
        return [
            field
            for number in range(1, rng.randint(1, 3) + 1)
            for field in fields(shape.element, f"{path}.{element}.{number}", rng, density=density)
        ]
    return [
        field
        for name, member in shape.members.items()
        if name in shape.required or rng.random() < (0.6 if name in HINTS else density)
        for field in fields(
            member.shape,
            f"{path}.{member.wire_name}" if path else member.wire_name,
            rng,
            density=density,
        )
    ]


def mutated(form: list[tuple[str, str]], rng: random.Random) -> list[tuple[str, str]]:
    """Return the form with one thing wrong, in one of two cases."""
    if not form or rng.random() < 0.5:
        return form
    at = rng.randrange(len(form))
    name, value = form[at]
    spoilt = {
        "dropped": [],
        "twice": [(name, value), (name, value)],
        "other name": [(name + ".1", value)],
        "shorter name": [(name[:-1], value)],
        "a hole": [(name.replace(".1", ".7"), value)],
        "no value": [(name, "")],
        "long": [(name, value * 1_000)],
    }
    return form[:at] + spoilt[rng.choice(sorted(spoilt))] + form[at + 1 :]


def make_form(operation: str, seed: int) -> bytes:
    """Return a request; the same for the same seed, so that a failure can be run again."""
    rng = random.Random(seed)  # noqa: S311 no secret depends on it
    # Few parameters get far into a handler, many meet each other.
    density = rng.choice((0.1, 0.2, 0.5))
    form = fields(MODEL.operations[operation].input, "", rng, density=density)
    if rng.random() < 0.7:
        refused = {row.member for row in unoffered.UNOFFERED.get(operation, ())}
        form = [(name, value) for name, value in form if name.split(".")[0] not in refused]
    form = [("Action", operation), ("Version", API_VERSION), *mutated(form, rng)]
    return urllib.parse.urlencode(form, errors="replace").encode()


def assert_is_an_answer(answer: Answer, operation: str | None) -> None:
    assert answer.status < 500, answer.body
    assert b"Traceback" not in answer.body
    root = ET.fromstring(answer.body)  # noqa: S314 our own answer
    if answer.status == 200:
        assert operation is not None
        assert root.tag == f"{NAMESPACE}{operation}Response"
        return
    code = root.findtext(f"{NAMESPACE}Error/{NAMESPACE}Code")
    assert root.findtext(f"{NAMESPACE}Error/{NAMESPACE}Type") == "Sender"
    assert code is not None
    if operation is not None:
        modelled = MODEL.operations[operation].fault_codes
        assert code in faults.allowed_codes(operation, modelled)


QUICK = settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
THOROUGH = settings(QUICK, max_examples=60)
DEEP = settings(QUICK, max_examples=250)


@pytest.mark.parametrize("operation", sorted(MODEL.operations))
def test_no_request_for_an_operation_makes_the_service_fail(bench: Bench, operation: str) -> None:
    many_rules = operation in unoffered.UNOFFERED
    effort = DEEP if many_rules else THOROUGH if operation in operations.HANDLERS else QUICK

    @effort
    @given(seed=st.integers(min_value=0, max_value=2**32))
    def holds(seed: int) -> None:
        assert_is_an_answer(bench.post(make_form(operation, seed)), operation)

    holds()


@settings(QUICK, max_examples=100)
@given(body=st.binary(max_size=300), content_type=st.sampled_from([FORM, "", "text/plain", "a\tb"]))
def test_no_body_at_all_makes_the_service_fail(
    bench: Bench, body: bytes, content_type: str
) -> None:
    assert_is_an_answer(bench.post(body, content_type), None)


@settings(QUICK, max_examples=60)
@given(
    name=st.sampled_from(TEXTS) | st.text(max_size=20),
    tail=st.sampled_from(["", "/explain", "/x", "/"]),
)
def test_no_path_of_the_native_face_makes_it_fail(bench: Bench, name: str, tail: str) -> None:
    quoted = urllib.parse.quote(name, safe="", errors="replace")
    answer = bench.get(f"/cachewright/v1/groups/{quoted}{tail}")
    assert answer.status < 500, answer.body
    assert b"Traceback" not in answer.body
