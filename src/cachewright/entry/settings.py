"""What was the program told? Command line and environment become one frozen `Settings`.

Whatever is wrong is refused here, with a sentence that names the way out.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path

from cachewright.entry import quotas, webhooks
from cachewright.entry.failures import BadSetting
from cachewright.model.settings import Addressing, Limits, Settings

_HIGHEST_PORT = 65_535


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """The options of `cachewright up`, as they were typed."""

    listen: str
    state_dir: Path
    address_pool: str | None
    addresses: str
    region: str
    account_id: str
    dev: bool
    max_nodes: int
    max_nodes_per_group: int
    quota: tuple[str, ...]
    notify_url: tuple[str, ...]
    leave_running: bool
    verbose: bool


def read(options: Options) -> Settings:
    """Turn options into settings; raise `BadSetting` for what cannot be used."""
    host, port = parse_listen(options.listen)
    check_identity(options.region, options.account_id)
    if options.dev and not ipaddress.ip_address(host).is_loopback:
        raise BadSetting(f"--dev is for loopback addresses only, not for {host}")
    return Settings(
        state_dir=options.state_dir.absolute(),
        listen_host=host,
        listen_port=port,
        address_pool=parse_pool(options.address_pool) if options.address_pool else None,
        addressing=Addressing(options.addresses),
        region=options.region,
        account_id=options.account_id,
        is_dev=options.dev,
        limits=quotas.apply(
            Limits(
                nodes_per_region=options.max_nodes, nodes_per_cluster=options.max_nodes_per_group
            ),
            options.quota,
        ),
        webhooks=webhooks.read(options.notify_url),
    )


def parse_listen(text: str) -> tuple[str, int]:
    """Parse `HOST:PORT`; port 0 means any free one."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > _HIGHEST_PORT:
        raise BadSetting(f"--listen {text!r} is not HOST:PORT, such as 127.0.0.1:4510")
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        raise BadSetting(
            f"--listen {text!r}: {host!r} is no IP address, such as 127.0.0.1"
        ) from None
    return str(address), int(port)


def parse_pool(text: str) -> ipaddress.IPv4Network:
    """Parse a block of loopback addresses, such as 127.80.0.0/20."""
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError as error:
        raise BadSetting(f"--address-pool {text!r} is no block of addresses: {error}") from None
    if not network.is_loopback:
        raise BadSetting(f"--address-pool {text} is not inside 127.0.0.0/8")
    if network.overlaps(ipaddress.IPv4Network("127.0.0.0/24")):
        raise BadSetting(f"--address-pool {text} overlaps 127.0.0.0/24, which others use")
    return network


def check_identity(region: str, account_id: str) -> None:
    """Refuse a region or an account id that could not stand in an ARN."""
    if not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-\d{1,2}", region):
        raise BadSetting(f"--region {region!r} is no region name, such as us-east-1")
    if not re.fullmatch(r"\d{12}", account_id):
        raise BadSetting(f"--account-id {account_id!r} is not 12 digits")
