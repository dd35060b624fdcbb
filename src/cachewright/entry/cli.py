"""Where does the command `cachewright` begin? The face's commands, and the ones that compose.

Imports late: `cachewright --help` and `cachewright up` shall start fast.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cachewright.cli.app import command_line
from cachewright.cli.options import with_state_dir
from cachewright.entry import quotas
from cachewright.entry import settings as given
from cachewright.entry.failures import BadSetting
from cachewright.model.settings import DEFAULT_ACCOUNT_ID, DEFAULT_REGION, Addressing, Limits

if TYPE_CHECKING:
    from cachewright.testing.services import Service

_DEFAULT_LISTEN = "127.0.0.1:4510"
#: ElastiCache raises the quota of nodes in one cluster to 500 at most.
_NODES_PER_GROUP_MAX = 500
#: What one address pool of 4,094 addresses serves with room for endpoints.
_NODES_MAX = 3_000
_DEFAULTS = Limits()


def _say(line: str) -> None:
    click.echo(line, err=True)


@click.command()
@click.option(
    "--listen",
    default=_DEFAULT_LISTEN,
    show_default=True,
    metavar="HOST:PORT",
    help="Where the API listens; port 0 takes any free one.",
)
@with_state_dir
@click.option(
    "--address-pool",
    metavar="CIDR",
    help="Loopback addresses for nodes. Default: a free block inside 127.64.0.0/10.",
)
@click.option(
    "--addresses",
    type=click.Choice([a.value for a in Addressing]),
    default=Addressing.LOOPBACK.value,
    show_default=True,
    help="A loopback address for each node, or one address for all and a port for each.",
)
@click.option("--region", default=DEFAULT_REGION, show_default=True, help="Region in ARNs.")
@click.option(
    "--account-id",
    default=DEFAULT_ACCOUNT_ID,
    show_default=True,
    help="Account in ARNs, 12 digits.",
)
@click.option(
    "--dev",
    is_flag=True,
    help="Accept the credentials test/test as well; only on a loopback address.",
)
@click.option(
    "--max-nodes",
    type=click.IntRange(1, _NODES_MAX),
    default=_DEFAULTS.nodes_per_region,
    show_default=True,
    help="Quota of nodes in all groups together.",
)
@click.option(
    "--max-nodes-per-group",
    type=click.IntRange(1, _NODES_PER_GROUP_MAX),
    default=_DEFAULTS.nodes_per_cluster,
    show_default=True,
    help="Quota of nodes in one group with cluster mode enabled.",
)
@click.option(
    "--quota",
    multiple=True,
    metavar="NAME=VALUE",
    help=f"Another quota; may be repeated. Names: {quotas.described()}.",
)
@click.option(
    "--notify-url",
    multiple=True,
    envvar="CACHEWRIGHT_NOTIFY_URL",
    metavar="[TOPIC_ARN=]URL",
    help="Post the events of groups with a notification topic there, as SNS does; for one topic "
    "or for all; may be repeated. Also CACHEWRIGHT_NOTIFY_URL, which keeps it from other users.",
)
@click.option(
    "--leave-running",
    is_flag=True,
    help="On stop leave the engines running; the next `up` adopts them.",
)
@click.option("--verbose", is_flag=True, help="Log what the service does.")
def up(**options: object) -> None:
    """Run the service in the foreground until Ctrl-C.

    Example: cachewright up --listen 127.0.0.1:0

    A stop saves each group's data and stops its engines; the next `up` on the same folder brings
    the groups back, with their data and at the same addresses.
    """
    from cachewright.entry import server

    typed = given.Options(**options)  # type: ignore[arg-type] # click made them as declared
    logging.basicConfig(
        level=logging.INFO if typed.verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        stream=sys.stderr,
    )
    try:
        settings = given.read(typed)
        ending = server.Ending(leaves_running=typed.leave_running, say=_say)
        code = server.run(settings, ending)
    except BadSetting as error:
        raise click.UsageError(str(error)) from error
    except server.CannotStart as error:
        raise click.ClickException(str(error)) from error
    sys.exit(code)


@click.command()
@with_state_dir
def credentials(state_dir: Path) -> None:
    """Print the root credentials as AWS tools read them from a `credential_process`.

    Example, in ~/.aws/config: credential_process = cachewright credentials
    """
    from cachewright.entry.credentials import load

    try:
        found = load(state_dir)
    except (BadSetting, OSError) as error:
        raise click.ClickException(
            f"no credentials for {state_dir}: {error}; `cachewright up` makes them"
        ) from error
    document = {
        "Version": 1,
        "AccessKeyId": found.access_key_id,
        "SecretAccessKey": found.secret_access_key.reveal(),
    }
    click.echo(json.dumps(document))


def _open_service() -> AbstractContextManager[Service]:
    from cachewright.testing.services import service

    return service()


def main() -> None:
    """Run the command line."""
    open_service: Callable[[], AbstractContextManager[Service]] = _open_service
    command_line(further=(up, credentials), open_service=open_service)(prog_name="cachewright")
