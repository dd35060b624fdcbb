"""Every check of the demo fails when its promise is broken, and says what broke it."""

from __future__ import annotations

import ipaddress
import json
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from cachewright.checker.judge import LaneVerdict, RequestsVerdict, Verdict
from cachewright.checker.summary import Summary, Totals
from cachewright.cli.demo import checks, workload


class Engine:
    """The three answers of a cluster client that the checks read."""

    def __init__(self, board: list[tuple[bytes, float]], session: dict[bytes, bytes], ttl_s: int):
        self._board, self._session, self._ttl_s = board, session, ttl_s

    def zrevrange(
        self, _name: str, _start: int, _end: int, *, withscores: bool
    ) -> list[tuple[bytes, float]]:
        assert withscores
        return self._board

    def pipeline(self) -> Engine:
        return self

    def hgetall(self, _name: str) -> None:
        pass

    def ttl(self, _name: str) -> None:
        pass

    def execute(self) -> list[object]:
        return [self._session, self._ttl_s]


def held(visits: int) -> dict[bytes, bytes]:
    fields = workload.session_fields("s") | {"visits": str(visits)}
    return {name.encode(): value.encode() for name, value in fields.items()}


@pytest.mark.parametrize(
    ("board", "ok"),
    [
        ([(b"x", 5.0)], True),
        ([(b"x", 6.0)], False),
        ([(b"y", 5.0)], False),
        ([], False),
    ],
)
def test_a_board_holds_exactly_the_expected_players(
    board: list[tuple[bytes, float]], ok: bool
) -> None:
    assert checks.boards_are_right(Engine(board, {}, 0), {"b": (("x", 5),)}).ok is ok


@pytest.mark.parametrize(
    ("visits", "ttl_s", "ok"),
    [(3, 1_800, True), (2, 1_800, False), (3, -1, False), (3, -2, False), (3, 1_801, False)],
)
def test_a_session_holds_its_fields_and_will_expire(visits: int, ttl_s: int, ok: bool) -> None:
    found = checks.sessions_are_right(Engine([], held(visits), ttl_s), {"s": 3})
    assert found.ok is ok
    assert ok or "s" in found.detail


def test_a_comparison_with_nothing_proves_nothing() -> None:
    assert not checks.boards_are_right(Engine([], {}, 0), {}).ok
    assert not checks.sessions_are_right(Engine([], {}, 0), {}).ok
    assert not checks.every_answer_was_good(0, "", 0).ok


def test_an_error_reply_is_named() -> None:
    found = checks.every_answer_was_good(2, "OOM command not allowed", 100)
    assert not found.ok
    assert "OOM" in found.detail


def test_processes_that_came_to_stay_are_named() -> None:
    assert checks.processes_are_gone([1, 2], [2]).ok
    found = checks.processes_are_gone([1, 2], [2, 77])
    assert not found.ok
    assert "77" in found.detail


def test_sockets_on_an_address_of_the_group_or_in_the_pool_are_named() -> None:
    pool = ipaddress.IPv4Network("127.80.0.0/20")
    assert checks.sockets_are_gone(pool, ["127.80.0.1:6379"], ["127.0.0.1:80"]).ok
    assert not checks.sockets_are_gone(pool, [], ["127.80.1.9:16379"]).ok
    assert not checks.sockets_are_gone(None, ["127.0.0.1:7001"], ["127.0.0.1:7001"]).ok
    assert checks.sockets_are_gone(None, ["127.0.0.1:7001"], ["127.0.0.1:7002"]).ok


def test_folders_of_nodes_are_found_wherever_they_are(tmp_path: Path) -> None:
    (tmp_path / "nodes" / "other.demo-0002-001").mkdir(parents=True)
    assert checks.folders_are_gone(tmp_path, ["demo-0001-001"]).ok
    (tmp_path / "nodes" / ".removing.u.demo-0001-001").mkdir()
    assert not checks.folders_are_gone(tmp_path, ["demo-0001-001"]).ok


def test_the_pool_is_read_from_the_state_folder(tmp_path: Path) -> None:
    assert checks.pool_of(tmp_path) is None
    (tmp_path / "pool.json").write_text(json.dumps({"network": "127.80.0.0/20"}))
    assert checks.pool_of(tmp_path) == ipaddress.IPv4Network("127.80.0.0/20")


def test_a_service_that_left_something_is_named(tmp_path: Path) -> None:
    assert checks.service_is_gone(tmp_path / "gone", ()).ok
    assert not checks.service_is_gone(tmp_path, ()).ok
    assert not checks.service_is_gone(tmp_path / "gone", (5,)).ok


def test_the_kernel_s_table_names_a_listening_socket_and_no_other() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        at = f"127.0.0.1:{server.getsockname()[1]}"
        assert at in checks.listening_sockets()
        with socket.create_connection(server.getsockname()) as client:
            ours = f"127.0.0.1:{client.getsockname()[1]}"
            assert ours not in checks.listening_sockets()
    assert at not in checks.listening_sockets()


def verdict(
    *,
    lost: tuple[int, ...] | None = (),
    foreign: tuple[int, ...] = (),
    is_served: bool = True,
    errors: tuple[str, ...] = (),
) -> Verdict:
    requests = RequestsVerdict(
        answered=1_000, failed=1, longest_gap_s=0.038, slowest_s=0.01, is_served=is_served
    )
    lane = LaneVerdict(
        name="0001",
        pace_s=0.004,
        writes=requests,
        reads=requests,
        lost=lost,
        doubled=(),
        foreign=foreign,
        wrong_reads=0,
        errors=errors,
    )
    return Verdict(lanes=(lane,), own_pause_s=0.0, left_keys=())


@pytest.mark.parametrize(
    ("seen", "ok", "detail"),
    [
        (verdict(), True, "every number is there, of 1 shards"),
        (verdict(lost=(7, 8, 9, 10)), False, "4 lost: 0001/7, 0001/8, 0001/9"),
        (verdict(lost=None), False, "what the shards hold could not be read"),
        (verdict(foreign=(5,)), False, "1 that nobody wrote: 0001/5"),
        (Verdict(lanes=(), own_pause_s=0.0, left_keys=()), False, "could not be read"),
    ],
)
def test_every_acknowledged_write_is_there(seen: Verdict, ok: bool, detail: str) -> None:
    found = checks.no_write_is_lost(seen)
    assert found.ok is ok
    assert detail in found.detail


TOTALS = Totals(answered=500, failed=0, per_second=50.0, lowest_per_second=40.0, longest_gap_s=0.1)
SEEN = Summary(
    seconds=10.0,
    writes=TOTALS,
    reads=TOTALS,
    keys=1_024,
    keys_written=500,
    doubled=0,
    foreign=0,
    wrong_reads=0,
    errors=(),
)


def unfailed(found: Verdict) -> Verdict:
    """Return a verdict without the one failure that those above have."""
    lanes = tuple(
        replace(
            lane,
            writes=replace(lane.writes, failed=0),
            reads=replace(lane.reads, failed=0),
        )
        for lane in found.lanes
    )
    return replace(found, lanes=lanes)


@pytest.mark.parametrize(
    ("found", "seen", "ok", "detail"),
    [
        (unfailed(verdict()), SEEN, True, "1,000 requests, 0 failed, 0 writes lost"),
        (verdict(), replace(SEEN, errors=("it broke",)), False, "2 failed, 0 writes lost"),
        (unfailed(verdict(lost=(7,))), SEEN, False, "1 writes lost"),
        (unfailed(verdict(lost=None)), SEEN, False, "unknown writes lost"),
        (unfailed(verdict(is_served=False)), SEEN, False, "0 failed"),
        (unfailed(verdict()), replace(SEEN, doubled=1), False, "1 doubled"),
        (unfailed(verdict()), replace(SEEN, foreign=1), False, "0 doubled"),
        (unfailed(verdict()), replace(SEEN, wrong_reads=1), False, "1 wrong answers"),
    ],
)
def test_clients_notice_nothing_or_it_is_named(
    found: Verdict, seen: Summary, ok: bool, detail: str
) -> None:
    check = checks.clients_noticed_nothing(found, seen, 0)
    assert check.ok is ok
    assert detail in check.detail
    assert all(error in check.detail for error in seen.errors)


@pytest.mark.parametrize(("strays", "said"), [(1, "1 keys where no"), (None, "unknown keys where")])
def test_keys_that_no_client_finds_are_noticed(strays: int | None, said: str) -> None:
    check = checks.clients_noticed_nothing(unfailed(verdict()), SEEN, strays)
    assert not check.ok
    assert said in check.detail


@pytest.mark.parametrize(
    ("slots", "ok"),
    [
        ((("0001", 8_192), ("0002", 8_192)), True),
        ((("0001", 8_192), ("0002", 8_191)), False),
        ((("0001", 16_384), ("0002", 0)), False),
        ((("0001", 16_384),), False),
        ((), False),
    ],
)
def test_all_slots_are_with_the_shards_that_were_asked_for(
    slots: tuple[tuple[str, int], ...], ok: bool
) -> None:
    assert checks.slots_are_spread(slots, 2).ok is ok


def test_clients_are_served_in_the_end() -> None:
    good = checks.clients_are_served_again(verdict(), 38.2)
    assert (good.ok, good.detail) == (True, "2,000 requests, 2 failed, no write for 38 ms")
    bad = checks.clients_are_served_again(verdict(is_served=False, errors=("it is gone",)), 38.2)
    assert not bad.ok
    assert "it is gone" in bad.detail


@pytest.mark.parametrize(
    ("primary", "whole_after_s", "ok"),
    [("b", 2.0, True), ("b", None, False), ("a", 2.0, False), (None, 2.0, False)],
)
def test_another_node_is_primary_and_all_are_there(
    primary: str | None, whole_after_s: float | None, ok: bool
) -> None:
    assert checks.group_is_whole_again("a", primary, whole_after_s).ok is ok


def test_data_outlives_the_kill_or_is_named() -> None:
    good = checks.Check(name="x", ok=True, detail="24 leaderboards, all right")
    bad = checks.Check(name="y", ok=False, detail="3 sessions, 1 wrong: s")
    assert checks.data_outlived(good, good).ok
    found = checks.data_outlived(good, bad)
    assert (found.ok, found.detail) == (False, "3 sessions, 1 wrong: s")
    assert not checks.data_outlived().ok
