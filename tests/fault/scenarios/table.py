"""Which faults strike which groups in the middle of what, and what has to come of it?

A cell is a shape, an operation and a fault; its name is theirs. What is expected of a cell follows
from its rows; where a cell differs, `EXCEPTIONS` says so. `SUITE` is the bounded selection that
runs with all other tests: what no other test covers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.fault.scenarios.faults import FAULTS, Fault, Need
from tests.fault.scenarios.operations import OPERATIONS, Operation
from tests.fault.scenarios.records import Expected, Failover
from tests.fault.scenarios.shapes import SHAPES, Shape

#: The longest gap of writes that is allowed, seconds. Far above what is measured on a quiet machine
#: (bench has those figures): scenarios run six at a time on two busy cores.
_GAP_FAILOVER_S = 2.5
_GAP_NONE_S = 1.5
#: For a start of engines from nothing, with the engine's own two seconds until a cluster writes.
_GAP_START_S = 15.0
#: A stock client sleeps between its retries once it has seen nobody for a while.
_GAP_ANY_S = 30.0


@dataclass(frozen=True, slots=True)
class Cell:
    """One scenario."""

    shape: Shape
    operation: Operation
    fault: Fault

    @property
    def name(self) -> str:
        """Return what it is called, in tests and on the command line."""
        return f"{self.shape.name}/{self.operation.name}/{self.fault.name}"

    def is_possible(self) -> bool:
        """Tell whether the shape has what operation and fault need."""
        shape, operation, fault = self.shape, self.operation, self.fault
        if shape.replicas < max(operation.replicas, fault.replicas):
            return False
        if shape.shards < max(operation.shards, fault.shards):
            return False
        if operation.faults and fault.name not in operation.faults:
            return False
        if fault.needs_moves and not operation.moves_slots:
            return False
        # Nothing comes of nothing, unless something is asked for.
        if fault.name in {"nothing", "die-at-failpoint"} and not operation.is_silent:
            return False
        # What strikes while there is no writer yet has to be an end of somebody.
        if operation.is_create and fault.patience_s:
            return False
        # A server that may open nothing for seconds gives a create up, and says why; so does one
        # whose build has vanished.
        is_hopeless = fault.name == "server-out-of-descriptors" or fault.needs is Need.OWN_ENGINE
        if operation.is_create and is_hopeless:
            return False
        # What is asked of events would be answered by a clock that was stepped.
        if fault.needs is Need.OWN_CLOCK and operation.checks_events:
            return False
        return operation.is_cluster in {None, shape.is_cluster}


def cell(name: str) -> Cell:
    """Return the cell of a name; `KeyError` when there is none."""
    shape, operation, fault = name.split("/")
    return Cell(SHAPES[shape], OPERATIONS[operation], FAULTS[fault])


def cells() -> Iterator[Cell]:
    """Yield every cell that is possible."""
    for shape in SHAPES.values():
        for operation in OPERATIONS.values():
            for fault in FAULTS.values():
                found = Cell(shape, operation, fault)
                if found.is_possible():
                    yield found


def expected(found: Cell) -> Expected:
    """Return what has to come of a cell."""
    shape, operation, fault = found.shape, found.operation, found.fault
    # Who dies while nobody else is in sync, or with everybody else, takes all along.
    may_lose_all = fault.ends_primary and (
        fault.ends_all or shape.replicas == 0 or operation.is_create
    )
    # An operation that ends engines may have left one copy when the fault comes.
    is_thin = operation.ends_engines and (shape.replicas < 2 or fault.name == "kill-twice")
    may_lose_all = may_lose_all or (fault.ends_primary and is_thin)
    is_stuck = fault.stuns_server or fault.needs is Need.SMALL_DISK
    value = Expected(
        failover=_failover(found, may_lose_all=may_lose_all),
        gap_s=_gap_s(found, may_lose_all=may_lose_all),
        may_lose_all=may_lose_all and not operation.keeps_on_disk,
        keeps_on_disk=operation.keeps_on_disk,
        is_clock_stepped=fault.needs is Need.OWN_CLOCK,
        fails_nothing=_fails_nothing(found),
        # A status that nobody can write down stays as it was.
        grace_s=2.0 + fault.patience_s + (fault.lasts_s[1] if is_stuck else 0.0),
    )
    return EXCEPTIONS.get(found.name, _as_it_is)(value)


def _fails_nothing(found: Cell) -> bool:
    # A plain client does not try again when its primary has become a replica.
    is_told = found.operation.changes_primaries and not found.shape.is_cluster
    return found.operation.is_silent and found.fault.name in _SILENT and not is_told


def _as_it_is(value: Expected) -> Expected:
    return value


def _failover(found: Cell, *, may_lose_all: bool) -> Failover:
    operation, fault = found.operation, found.fault
    if operation.is_silent and fault.ends_primary:
        # Whose keys a shard had may be elsewhere when it is struck.
        return Failover.MAY
    if (
        operation.moves_slots
        or operation.changes_primaries
        or operation.is_create
        or operation.is_delete
        or may_lose_all
    ):
        return Failover.MAY
    if fault.name == "doze-primary":
        return Failover.MAY
    return Failover.MUST if fault.ends_primary else Failover.MUST_NOT


def _gap_s(found: Cell, *, may_lose_all: bool) -> float:
    operation, fault = found.operation, found.fault
    if may_lose_all or fault.name == "kill-twice":
        return _GAP_ANY_S if fault.stuns_server else _GAP_START_S
    gap_s = _GAP_FAILOVER_S if fault.ends_primary or operation.changes_primaries else _GAP_NONE_S
    gap_s += fault.patience_s
    if fault.needs is Need.SMALL_DISK and operation.keeps_on_disk:
        # Who cannot keep a write refuses it.
        gap_s += fault.lasts_s[1] + 2.0
    if fault.name == "run-script":
        gap_s += 1.0
    if fault.stuns_server and (fault.ends_primary or operation.changes_primaries):
        # Nobody acts meanwhile, and a client that has waited long waits on for a while.
        gap_s += fault.lasts_s[1] + 4.0
    return gap_s


#: Faults that take nobody away who serves clients.
_SILENT = frozenset({"nothing", "kill-replica", "kill-server", "stop-server", "die-at-failpoint"})

#: Where the outcome of a cell differs from what follows from its rows, and why.
EXCEPTIONS: dict[str, Callable[[Expected], Expected]] = {}

#: Scenarios that run with all other tests.
SUITE = (
    "1+2/at-rest/kill-twice",
    "2x2/at-rest/kill-primaries",
    "3x2/at-rest/stop-server-kill-primary",
    "1x2/at-rest/pulse-primary",
    "1+1/at-rest/stop-primary",
    "3x2/at-rest/doze-primary",
    "1+2/at-rest/stop-replica",
    "1+1/at-rest/take-address-of-primary",
    "2x2/test-failover/kill-server",
    "1+2/failover/kill-replica",
    "1+1/at-rest/server-out-of-descriptors",
    "3x2/create/kill-primary",
    "2x2/upgrade/kill-primary",
    "1+2/replicas-in/kill-primary",
    "2x2/replicas-out/kill-server-and-primary",
    "2x2/node-type/kill-server",
    "1+1/node-type/nothing",
    "2x2/scale-out/kill-taker",
    "3x2/scale-in/kill-giver",
    "2x2/rebalance/kill-server-and-primary",
    "2x2/scale-out/die-at-failpoint",
    "2x2/rebalance/die-at-failpoint",
)
