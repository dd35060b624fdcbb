"""A block of ports belongs to one state folder, and stays what it was."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from cachewright.agent.ports import PORTS_PER_BLOCK, claim_ports
from cachewright.model.errors import Terminal

ADDRESS = "127.0.0.1"


def test_a_folder_keeps_its_ports(tmp_path: Path) -> None:
    first = claim_ports(tmp_path, ADDRESS)
    first.release()
    again = claim_ports(tmp_path, ADDRESS)
    again.release()
    assert (again.first, again.last) == (first.first, first.last)
    assert again.last - again.first + 1 == PORTS_PER_BLOCK


def test_two_folders_never_share_a_block(tmp_path: Path) -> None:
    claims = []
    try:
        for number in range(3):
            folder = tmp_path / str(number)
            folder.mkdir()
            claims.append(claim_ports(folder, ADDRESS))
        assert len({claim.first for claim in claims}) == 3
    finally:
        for claim in claims:
            claim.release()


def test_a_block_in_which_somebody_listens_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    before = claim_ports(tmp_path / "a", ADDRESS)
    before.release()
    (tmp_path / "a" / "ports.json").unlink()
    with socket.create_server((ADDRESS, before.first + 7)):
        after = claim_ports(tmp_path / "a", ADDRESS)
        after.release()
    assert after.first != before.first


def test_the_block_of_a_folder_that_another_process_claims_is_refused(tmp_path: Path) -> None:
    first = claim_ports(tmp_path, ADDRESS)
    try:
        with pytest.raises(Terminal, match="claimed by another process"):
            claim_ports(tmp_path, ADDRESS)
    finally:
        first.release()
