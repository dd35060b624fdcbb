"""What is read of `CLUSTER NODES`: who is known for good, who owns, what is open."""

from __future__ import annotations

from cachewright.engines.cluster_view import (
    parse_bus_view,
    parse_epoch,
    parse_followed_claim,
    parse_own_claim,
    parse_unowned,
    parse_view,
    reopen,
)
from cachewright.engines.home import Claim
from cachewright.model.facts import OpenSlot
from cachewright.model.slots import SLOT_COUNT, SlotRange

A, B, C, D, E = (letter * 40 for letter in "abcde")


def said(*lines: str) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


OTHERS = (
    f"{B} 127.0.0.2:6379@16379 master - 0 1 2 connected 100-199",
    f"{C} 127.0.0.3:6379@16379 slave {B} 0 1 2 connected",
    f"{D} 127.0.0.4:6379@16379 master,fail - 1 1 3 disconnected",
)


def test_all_that_have_said_who_they_are_are_known() -> None:
    view = parse_view(
        said(
            f"{A} 127.0.0.1:6379@16379 myself,master - 0 0 1 connected 0-99 300",
            *OTHERS,
            f"{E} 127.0.0.5:6379@16379 handshake - 1 0 0 connected",
        )
    )
    assert view.known_ids == {A, B, C, D}
    assert view.owner_ids == {A, B}
    assert view.own_slots == (SlotRange(0, 99), SlotRange(300, 300))
    assert view.open_slots == ()


def test_open_slots_are_read_from_the_own_line_and_are_no_ownership() -> None:
    own = f"{A} 127.0.0.1:6379@16379 myself,master - 0 0 1 connected"
    view = parse_view(said(*OTHERS, f"{own} [5-<-{B}] [7-<-{B}]"))
    assert view.owner_ids == {B}
    assert view.own_slots == ()
    assert view.open_slots == tuple(
        OpenSlot(slot=slot, peer_id=B, is_import=True) for slot in (5, 7)
    )
    view = parse_view(said(f"{own} 0-99 [16383->-{B}]", *OTHERS))
    assert view.owner_ids == {A, B}
    assert view.open_slots == (OpenSlot(slot=16383, peer_id=B, is_import=False),)


def test_equal_views_share_their_ids() -> None:
    """500 nodes name the same 500 ids at every look."""
    own = f"{A} 127.0.0.1:6379@16379 myself,master - 0 0 1 connected 0-99"
    first, second = parse_view(said(own, *OTHERS)), parse_view(said(*reversed(OTHERS), own))
    assert first.known_ids is second.known_ids
    assert first.owner_ids is second.owner_ids


def test_who_says_nothing_of_itself_owns_nothing() -> None:
    view = parse_view(said(*OTHERS))
    assert view.own_slots == ()
    assert view.owner_ids == {B}


def test_moves_that_were_open_are_open_again_where_that_is_possible() -> None:
    own = f"{A} 127.0.0.1:6379@16379 myself,master - 0 0 1 connected"
    before = said(f"{own} 0-99 [5->-{B}] [7->-{E}] [99->-{B}] [120-<-{B}] [50-<-{B}]", *OTHERS)
    fresh = said(f"{own} 0-98", *OTHERS)
    again = reopen(fresh, before)
    assert again == said(f"{own} 0-98 [5->-{B}] [120-<-{B}]", *OTHERS)
    assert reopen(fresh, b"") == fresh
    assert reopen(fresh, fresh) == fresh


def test_connections_are_read_of_all_and_count_for_oneself() -> None:
    own = f"{A} 127.0.0.1:6379@16379 myself,master - 0 0 1 connected 0-99 [7->-{B}]"
    view = parse_bus_view(said(own, *OTHERS))
    assert view.linked_ids == {A, B, C}
    assert view.owner_ids == {A, B}


def test_a_primary_claims_for_itself_and_a_replica_what_its_primary_had() -> None:
    primary = said(f"{A} 127.0.0.1:6379@16379 myself,master - 0 0 7 connected 0-99 [7->-{B}]")
    replica = said(f"{A} 127.0.0.1:6379@16379 myself,slave {B} 0 0 2 connected", *OTHERS)
    assert parse_own_claim(primary) == Claim(epoch=7, slots=(SlotRange(0, 99),))
    assert parse_followed_claim(replica) == Claim(epoch=2, slots=(SlotRange(100, 199),))
    assert parse_own_claim(replica) is parse_followed_claim(primary) is None
    assert (parse_view(primary).is_primary, parse_view(replica).is_primary) == (True, False)


def test_slots_that_nobody_names_are_owned_by_nobody() -> None:
    mine = f"{A} 127.0.0.1:6379@16379 myself,master - 0 0 1 connected 0-99 300 [7-<-{B}]"
    unowned = parse_unowned(said(mine, *OTHERS))
    assert len(unowned) == SLOT_COUNT - 201
    assert not unowned & {0, 99, 100, 199, 300}
    assert {200, 299, 301} <= unowned


def test_an_epoch_is_as_the_answering_one_knows_it() -> None:
    told = said(f"{A} 127.0.0.1:6379@16379 myself,master - 0 0 1 connected 0-99", *OTHERS)
    assert [parse_epoch(told, engine_id) for engine_id in (A, B, D, E)] == [1, 2, 3, -1]
