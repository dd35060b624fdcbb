"""What runs when people type `cachewright up`? Server, agent and loop in one process.

The composition root of one machine: SQLite for promises, the agent as an object, loopback
addresses for nodes. Begins with the lock on the state folder, ends with the engines saved and
stopped, unless they shall be left running.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import json
import logging
import os
import shlex
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from cachewright.agent import pool, ports
from cachewright.agent.supervisor import LocalAgent
from cachewright.api.app import App, make_app
from cachewright.control.drill import end_node
from cachewright.control.execute import Executor
from cachewright.control.loop import Controller, sweep_events
from cachewright.control.notify import Notifier
from cachewright.control.observe import Observer
from cachewright.engines.catalogue import Catalogue
from cachewright.entry.credentials import DEV_PAIR, Credentials, root_credentials
from cachewright.entry.failures import BadSetting
from cachewright.kit import files, ids
from cachewright.kit.clock import Clock, SystemClock
from cachewright.kit.secret import Secret
from cachewright.kit.tasks import Supervised
from cachewright.model.arns import Arns
from cachewright.model.errors import CachewrightError
from cachewright.model.facts import Observed
from cachewright.model.settings import Addressing, Settings
from cachewright.plan.placement import AddressPool, OwnAddresses, SharedAddress
from cachewright.service import pending, service_updates, shard_settling, update_batches
from cachewright.service.context import Service
from cachewright.store.base import StoreUnavailable
from cachewright.store.records import Records
from cachewright.store.sqlite import SqliteStore

_log = logging.getLogger(__name__)

SERVER_FILE = "server.json"
_LOCK_FILE = "lock"
_STORE_FILE = "store.db"
#: How long a controller's lease lasts, seconds: the lock on the state folder keeps others out, the
#: lease only gives each start an epoch above all before it.
_LEASE_S = 0.001
#: Any address of the loopback block beside 127.0.0.1: Linux has them all, other systems do not.
_PROBED_ADDRESS = "127.64.0.1"
#: Where all nodes are with `--addresses ports`.
_SHARED_ADDRESS = "127.0.0.1"
#: Requests that came before a stop may take this long to be answered, seconds.
_DRAIN_S = 3
#: Connections that wait to be accepted.
_BACKLOG = 512


class CannotStart(Exception):
    """The service cannot start; `str()` says why and what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """How the service shall end."""

    leaves_running: bool
    #: Tell people what happens.
    say: Callable[[str], None]


def run(settings: Settings, ending: Ending) -> int:
    """Serve until a signal says stop; return the exit code."""
    import uvloop

    return uvloop.run(_serve(addressable(settings, ending.say), ending))


def addressable(settings: Settings, say: Callable[[str], None]) -> Settings:
    """Return settings whose way of addressing works here: ports where loopback addresses do not."""
    wants_loopback = settings.addressing is Addressing.LOOPBACK
    if not wants_loopback or pool.loopback_available(_PROBED_ADDRESS):
        return settings
    if settings.address_pool is not None:
        raise CannotStart(
            f"--address-pool {settings.address_pool}: only 127.0.0.1 can be listened on here; "
            "leave the option out, and nodes differ by port"
        )
    say("only 127.0.0.1 can be listened on here: nodes share it and differ by port")
    return dataclasses.replace(settings, addressing=Addressing.PORTS)


async def _serve(settings: Settings, ending: Ending) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        async with _composed(settings) as parts:
            await parts.notifier.begin()
            await parts.controller.look_once()
            listener = _listen(settings)
            with _announced(settings, listener, parts.credentials, ending.say):
                await _until(stop, parts, listener)
            return await _end(parts.controller, ending)
    except (BadSetting, StoreUnavailable, CachewrightError) as error:
        raise CannotStart(str(error)) from error


@dataclass(frozen=True, kw_only=True, slots=True)
class _Parts:
    controller: Controller
    notifier: Notifier
    service: Service
    app: App
    credentials: Credentials


@contextlib.asynccontextmanager
async def _composed(settings: Settings) -> AsyncIterator[_Parts]:
    """Put everything together, in the order in which one thing needs the other."""
    clock = SystemClock()
    with contextlib.ExitStack() as held:
        _enter_state_dir(settings.state_dir, held)
        credentials = root_credentials(settings.state_dir, os.environ)
        store = await SqliteStore.open(settings.state_dir / _STORE_FILE)
        try:
            places = _claim_pool(settings, held)
            agent = LocalAgent(settings.state_dir / "nodes", Catalogue(), clock)
            await agent.open()
            held.callback(agent.close)
            lease = await store.acquire_lease("controller", ids.new_uid(), _LEASE_S, clock.now())
            if lease is None:
                raise CannotStart("another controller holds the lease of this state folder")
            yield _parts(settings, credentials, Records(store), agent, places, lease.epoch, clock)
        finally:
            await store.close()


def _parts(  # noqa: PLR0917 this is where everything meets
    settings: Settings,
    credentials: Credentials,
    records: Records,
    agent: LocalAgent,
    places: AddressPool,
    epoch: int,
    clock: Clock,
) -> _Parts:
    arns = Arns(region=settings.region, account_id=settings.account_id)
    executor = Executor(
        agent=agent, store=records, clock=clock, arns=arns, pool=places, epoch=epoch
    )
    observer = Observer(agent, clock)

    async def look(uid: str) -> Observed:
        group = records.group(uid)
        return Observed() if group is None else await observer.observe(group)

    def settle(uid: str) -> Awaitable[bool]:
        return shard_settling.settle(service, uid)

    controller = Controller(
        store=records,
        observer=observer,
        executor=executor,
        clock=clock,
        limits=settings.limits,
        settle=settle,
    )
    agent.on_exit(controller.wake_for_node)
    agent.on_silence(controller.wake_for_node)
    service = Service(
        records=records,
        settings=settings,
        clock=clock,
        offers=agent.offers,
        address_capacity=lambda: places.capacity() - len(records.taken_addresses()),
        usage=observer.usage,
        look=look,
        wake=controller.wake,
    )
    app = make_app(
        service,
        lookup=_lookup(settings, credentials),
        explain=controller.explain,
        install=agent.install,
        end_node=functools.partial(end_node, records, observer, executor, clock=clock),
    )
    return _Parts(
        controller=controller,
        notifier=Notifier(store=records, clock=clock, webhooks=settings.webhooks),
        service=service,
        app=app,
        credentials=credentials,
    )


async def _until(stop: asyncio.Event, parts: _Parts, listener: socket.socket) -> None:
    server = _HttpServer(
        uvicorn.Config(
            parts.app,
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=True,
            timeout_graceful_shutdown=_DRAIN_S,
        )
    )
    async with Supervised() as tasks:
        parts.controller.start(tasks)
        parts.notifier.start(tasks)
        service = parts.service
        tasks.start("sweep-events", lambda: _sweep(service.records, service.clock))
        tasks.start("maintain", lambda: _maintain(service))
        tasks.start("notice-updates", lambda: _notice(service))
        serving = asyncio.create_task(server.serve(sockets=[listener]), name="http")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        stopping.cancel()
        await serving


class _HttpServer(uvicorn.Server):
    """uvicorn without its own signal handlers: how to end is decided here."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _sweep(records: Records, clock: Clock) -> None:
    while True:  # noqa: ASYNC110 a timer, not a wait for a condition
        await asyncio.sleep(await sweep_events(records, clock))


async def _maintain(service: Service) -> None:
    while True:  # a timer, not a wait for a condition
        await pending.apply_due(service, service.clock.now())
        await asyncio.sleep(pending.LOOK_AGAIN_S)


async def _notice(service: Service) -> None:
    while True:
        await service_updates.notice(service)
        await update_batches.apply_due(service)
        await asyncio.sleep(service_updates.NOTICE_EVERY_S)


async def _end(controller: Controller, ending: Ending) -> int:
    if ending.leaves_running:
        ending.say("engines keep running; the next `cachewright up` adopts them")
        return 0
    ending.say("stopping engines; primaries save their data first (please wait)")
    failures = await controller.stop_engines(lambda name: ending.say(f"stopped {name}"))
    for failure in failures:
        ending.say(f"{failure.step.node_id} keeps running: {failure.reason}")
    return 1 if failures else 0


def _enter_state_dir(state_dir: Path, held: contextlib.ExitStack) -> None:
    try:
        files.make_private_folder(state_dir)
        held.enter_context(files.locked(state_dir / _LOCK_FILE))
    except files.AlreadyLocked as error:
        raise CannotStart(
            f"{state_dir} is in use by process {error.holder}: stop it, or name another "
            "folder with --state-dir"
        ) from error
    except OSError as error:
        raise CannotStart(
            f"the state folder {state_dir} cannot be used: {error.strerror}; name another one "
            "with --state-dir"
        ) from error


def _claim_pool(settings: Settings, held: contextlib.ExitStack) -> AddressPool:
    if settings.addressing is Addressing.PORTS:
        claimed = ports.claim_ports(settings.state_dir, _SHARED_ADDRESS)
        held.callback(claimed.release)
        return SharedAddress(
            address=_SHARED_ADDRESS, first_port=claimed.first, last_port=claimed.last
        )
    block = pool.claim_pool(settings.state_dir, settings.address_pool)
    held.callback(block.release)
    return OwnAddresses(network=block.network)


def _lookup(settings: Settings, credentials: Credentials) -> Callable[[str], Secret | None]:
    pairs = {credentials.access_key_id: credentials.secret_access_key}
    if settings.is_dev:
        pairs[DEV_PAIR[0]] = Secret(DEV_PAIR[1])
    return pairs.get


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.listen_host else socket.AF_INET
    try:
        return socket.create_server(
            (settings.listen_host, settings.listen_port), family=family, backlog=_BACKLOG
        )
    except OSError as error:
        raise CannotStart(
            f"cannot listen on {settings.listen_host}:{settings.listen_port}: {error.strerror}; "
            "choose another with --listen, port 0 takes any free one"
        ) from error


@contextlib.contextmanager
def _announced(
    settings: Settings,
    listener: socket.socket,
    credentials: Credentials,
    say: Callable[[str], None],
) -> Iterator[None]:
    """Write down and print where the service is, for as long as it serves."""
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    document = {
        "url": url,
        "pid": os.getpid(),
        "region": settings.region,
        "account_id": settings.account_id,
    }
    path = settings.state_dir / SERVER_FILE
    files.write_private(path, json.dumps(document).encode())
    for line in _welcome(settings, url, credentials):
        say(line)
    print(f"ready: {url}", flush=True)  # noqa: T201 the one line that programs wait for
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _welcome(settings: Settings, url: str, credentials: Credentials) -> Iterator[str]:
    if credentials.is_from_environment:
        yield "credentials: from CACHEWRIGHT_ACCESS_KEY_ID and CACHEWRIGHT_SECRET_ACCESS_KEY"
        return
    program = shlex.join([sys.executable, "-m", "cachewright", "credentials", "--state-dir"])
    folder = shlex.quote(str(settings.state_dir))
    yield "to use it, add this to ~/.aws/config and call `aws --profile cachewright elasticache`:"
    yield ""
    yield "  [profile cachewright]"
    yield f"  region = {settings.region}"
    yield f"  endpoint_url = {url}"
    yield f"  credential_process = {program} {folder}"
    yield ""
