"""Is every operation either carried out or refused with a reason, and with which codes?"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import cachewright
from cachewright.api import faults, operations, unsupported
from cachewright.protocol import errors as wire
from cachewright.protocol.service_model import load_service_model

SOURCE = Path(cachewright.__file__).parent
MODEL = load_service_model()


def test_handlers_and_refusals_are_all_operations_and_none_is_both() -> None:
    assert set(operations.HANDLERS) | set(unsupported.REASONS) == set(MODEL.operations)
    assert not set(operations.HANDLERS) & set(unsupported.REASONS)
    assert len(MODEL.operations) == 77


@pytest.mark.parametrize("operation", sorted(unsupported.REASONS))
def test_every_refusal_has_a_reason_that_ends_without_a_stop(operation: str) -> None:
    reason = unsupported.REASONS[operation]
    assert reason
    assert not reason.endswith(".")


def test_kept_answers_belong_to_operations_that_are_offered() -> None:
    assert set(operations.HANDLERS) >= operations.FROM_RECORDS_ALONE


def _raised_codes(room: str) -> set[str]:
    """Return every error code that the files of `room` give a fault by name."""
    codes: set[str] = set()
    for path in sorted((SOURCE / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            first = node.args[0] if node.args else None
            if node.func.id in {"ClientFault", "Refused", "WireError", "_fault"} and isinstance(
                first, ast.Constant
            ):
                codes.add(str(first.value))
    return codes


@pytest.mark.parametrize("room", ["service", "api"])
def test_every_code_that_is_raised_is_one_of_the_model_a_common_or_a_documented_one(
    room: str,
) -> None:
    raised = _raised_codes(room)
    assert len(raised) >= 5
    assert raised <= set(MODEL.faults) | set(wire.COMMON_STATUSES) | set(faults.OWN_STATUSES)


def test_own_codes_are_really_missing_from_the_model() -> None:
    assert not set(faults.OWN_STATUSES) & (set(MODEL.faults) | set(wire.COMMON_STATUSES))
    for operation, codes in faults.BEYOND_MODEL.items():
        assert codes <= set(MODEL.faults)
        assert not codes & MODEL.operations[operation].fault_codes
