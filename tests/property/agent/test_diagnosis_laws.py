"""Which laws hold for what a host makes of a silence, whatever it sees?"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cachewright.agent.diagnosis import BY_PATIENCE, NO_WAIT, Sample, cause_of, parse_sample
from cachewright.model.facts import SilenceCause

seconds = st.floats(min_value=0, max_value=100)
samples = st.builds(
    Sample,
    state=st.sampled_from("RSDTtZXI"),
    ran_s=seconds,
    waited_s=seconds,
    waits_in=st.sampled_from(
        ["", "0", "do_epoll_wait", "futex_wait_queue", "jbd2_log_wait_commit"]
    ),
)


@given(before=st.none() | samples, now=samples, elapsed_s=seconds)
def test_stopped_is_said_of_those_and_only_those_that_are(
    before: Sample | None, now: Sample, elapsed_s: float
) -> None:
    is_stopped = cause_of(before, now, elapsed_s) is SilenceCause.STOPPED
    assert is_stopped == (now.state in {"T", "t"})


@given(before=st.none() | samples, now=samples, elapsed_s=seconds)
def test_what_only_answers_tell_is_never_guessed(
    before: Sample | None, now: Sample, elapsed_s: float
) -> None:
    cause = cause_of(before, now, elapsed_s)
    assert cause not in {SilenceCause.SCRIPT, SilenceCause.REFUSING}
    if before is None:
        assert cause in {SilenceCause.STOPPED, SilenceCause.DISK, SilenceCause.UNTOLD}


@given(
    looks=st.lists(
        st.tuples(st.floats(min_value=0, max_value=1), st.sampled_from(SilenceCause)), min_size=1
    )
)
def test_a_wait_counts_every_look_and_forgets_causes_after_four(
    looks: list[tuple[float, SilenceCause]],
) -> None:
    wait = NO_WAIT
    for counted_s, cause in looks:
        wait = wait.after(counted_s, cause)
    silence = wait.silence()
    assert silence.probes == len(looks)
    assert abs(silence.seconds - sum(counted_s for counted_s, _ in looks)) < 1e-6
    last = [cause for _, cause in looks[-4:]]
    assert silence.cause in last
    assert all(BY_PATIENCE.index(cause) <= BY_PATIENCE.index(silence.cause) for cause in last)


@given(name=st.binary(max_size=20), state=st.sampled_from("RSDTtZ"), schedstat=st.binary())
def test_no_command_name_can_forge_a_state(name: bytes, state: str, schedstat: bytes) -> None:
    stat = b"1 (" + name + b") " + state.encode() + b" 0" * 49
    waited = b"1 2 3" if not schedstat else b""
    assert parse_sample(stat, waited, b"").state == state
