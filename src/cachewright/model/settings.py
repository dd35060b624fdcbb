"""What can be configured? One frozen value, read once in `entry` and passed down."""

from __future__ import annotations

import enum
import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

DEFAULT_ACCOUNT_ID = "000000000000"
DEFAULT_REGION = "us-east-1"


class Addressing(enum.Enum):
    """How nodes get their addresses."""

    #: Each node has a loopback address of its own and the standard port.
    LOOPBACK = "loopback"
    #: All nodes share one address and differ by port.
    PORTS = "ports"


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Quotas, by ElastiCache's defaults."""

    nodes_per_region: int = 300
    #: Nodes of one group with cluster mode enabled; at most 500.
    nodes_per_cluster: int = 90
    nodes_per_memcached_cluster: int = 60
    parameter_groups: int = 300
    subnet_groups: int = 300
    subnets_per_subnet_group: int = 20
    security_groups: int = 50
    reserved_nodes: int = 300
    tags_per_resource: int = 50
    #: Tests of failover that are accepted within any 24 hours, of all groups together.
    test_failovers_per_day: int = 15
    #: A group that is still `creating` after this long ends in `create-failed`.
    create_deadline_s: float = 300.0
    #: Starts of one node that may fail in a row before its create is given up.
    failed_starts: int = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Webhook:
    """Where the events of groups with a topic are posted to."""

    #: http or https; may hold a secret.
    url: str = field(repr=False)
    #: `None`: for every topic that has no webhook of its own.
    topic_arn: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Everything that `cachewright up` was told."""

    state_dir: Path
    listen_host: str = "127.0.0.1"
    listen_port: int = 4510
    #: `None`: a free block inside 127.64.0.0/10 is found and kept.
    address_pool: ipaddress.IPv4Network | None = None
    addressing: Addressing = Addressing.LOOPBACK
    region: str = DEFAULT_REGION
    account_id: str = DEFAULT_ACCOUNT_ID
    #: Accept the pair test/test; only on a loopback listener.
    is_dev: bool = False
    limits: Limits = Limits()
    webhooks: tuple[Webhook, ...] = ()
