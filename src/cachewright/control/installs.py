"""Which engine builds are being installed, and who waits for them?

An installation takes seconds to minutes, so no worker of the loop waits for one: the step begins
it, at most one for each engine line, and its end wakes the groups that need it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from cachewright.kit.tasks import Supervised
from cachewright.model.commands import InstallBuild
from cachewright.model.errors import Terminal
from cachewright.rpc.agent import Agent, CommandFailed

#: Downloading and unpacking a build takes seconds; on a slow line some minutes. Seconds.
INSTALL_DEADLINE_S = 280.0
#: A mirror that is busy for a moment must not end a create; what fails three times goes on failing.
TRIES = 3


@dataclass(slots=True)
class _Install:
    waiting: set[str] = field(default_factory=set)
    #: Tries that failed, one after the other.
    failed: int = 0
    is_over: bool = False
    failure: str = ""


class Installs:
    """The installations under way on one host."""

    def __init__(self, agent: Agent, tasks: Supervised, wake: Callable[[str], None]) -> None:
        self._agent = agent
        self._tasks = tasks
        self._wake = wake
        self._by_line: dict[InstallBuild, _Install] = {}

    def ask(self, command: InstallBuild, uid: str) -> None:
        """Begin an installation for a group, or join the one that is under way.

        Raises:
            Terminal: it failed again and again; the next call begins anew.
        """
        install = self._by_line.get(command)
        if install is not None and install.is_over:
            del self._by_line[command]
            if install.failed >= TRIES:
                raise Terminal(install.failure)
        if command not in self._by_line:
            failed = install.failed if install is not None else 0
            install = self._by_line[command] = _Install(failed=failed)
            name = f"install-{command.engine.value}-{command.engine_version}"
            self._tasks.start(name, lambda: self._run(command))
        self._by_line[command].waiting.add(uid)

    async def _run(self, command: InstallBuild) -> None:
        install = self._by_line[command]
        try:
            async with asyncio.timeout(INSTALL_DEADLINE_S):
                await self._agent.install(command.engine, command.engine_version)
        except (CommandFailed, TimeoutError) as error:
            late = f"not installed within {INSTALL_DEADLINE_S:.0f} s"
            install.failure = str(error) or late
            install.failed += 1
        install.is_over = True
        for uid in install.waiting:
            self._wake(uid)
