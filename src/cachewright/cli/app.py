"""Which commands does `cachewright` have? The group that `entry.cli` completes and runs.

Nothing is imported here but click, so that help and `up` start fast; each command imports what it
needs when it runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

import cachewright
from cachewright.cli import authority, check, drill, engines, groups, scale
from cachewright.cli.demo.command import demo_command

if TYPE_CHECKING:
    from cachewright.cli.demo.story import OpenService

_HELP = """A managed in-memory data store that you run yourself, behind the Amazon ElastiCache API.

\b
A first round:
  cachewright demo          watch a cluster come up, work and go away
  cachewright up            run the service here, until Ctrl-C
  cachewright ls            what is there
  cachewright show NAME     one group, node by node
  cachewright scale NAME    more or fewer shards and replicas, other nodes
  cachewright check NAME    see what clients see while something is done to it
  cachewright drill NAME    end a primary, and see what clients see
"""
_EPILOG = """\b
Exit codes: 0 it worked; 1 it did not; 2 the command was used wrongly;
130 and 143 it was interrupted by Ctrl-C or SIGTERM.
"""


def command_line(*, further: Iterable[click.Command], open_service: OpenService) -> click.Group:
    """Return the whole command line.

    Args:
        further: Commands that need the composition root, such as `up`.
        open_service: Opens a service of its own for the demo; called when the demo runs.
    """

    @click.group(help=_HELP, epilog=_EPILOG, context_settings={"max_content_width": 100})
    @click.version_option(cachewright.__version__, prog_name="cachewright")
    def root() -> None:
        pass

    shown = (groups.ls, groups.show, groups.explain)
    changes = (scale.scale, scale.upgrade)
    looks = (check.check, drill.drill)
    commands = (*shown, *changes, *looks, engines.engines, authority.ca)
    for command in (*further, *commands, demo_command(open_service)):
        root.add_command(command)
    return root
