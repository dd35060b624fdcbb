"""Which mistakes must the tests find? Seeded mutants: one realistic mistake each, in one place.

Each is an exact text of a source file and what a hurried hand would have written instead. Where
several layers guard one law, each layer has a mutant of its own with the tests of that layer, so
that no layer is trusted only because another one helps. `python -m tests.mutants` plants them.
"""

from __future__ import annotations

from dataclasses import dataclass

_PLAN = "tests/unit/plan/test_plan_group.py::"
_CHANGES = "tests/unit/plan/test_plan_changes.py::"
_AGENT = "tests/fault/test_agent_failover.py::"
_ISSUERS = "tests/simulation/test_issuers.py::"
#: Groups from their creation on, and groups that serve when it begins.
_CREATION = "tests/property/plan/test_plan_machine.py::TestPlanMachine::runTest"
_MACHINE = "tests/property/plan/test_plan_machine.py::TestServingMachine::runTest"
_SIMULATION = (
    "tests/simulation/test_simulation.py::test_no_law_is_broken_in_a_run_that_nobody_has_seen"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Catch:
    """A test that must fail."""

    test: str
    #: What is found in its report, as an expression: it must fail for this reason and no other.
    says: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Mutant:
    """One mistake."""

    #: The mistake, as people name it; layers share it.
    mistake: str
    #: Below `src/cachewright`.
    path: str
    before: str
    after: str
    catches: tuple[Catch, ...]

    @property
    def name(self) -> str:
        """Return how it is called on the command line."""
        return f"{self.mistake.replace(' ', '-')}/{self.path.removesuffix('.py')}"


MUTANTS = (
    Mutant(
        mistake="promote the laggard",
        path="plan/election.py",
        before="            -candidates[node_id].offset,\n",
        after="            candidates[node_id].offset,\n",
        catches=(
            Catch(test=f"{_PLAN}test_the_replica_that_applied_most_is_promoted", says="demo-002"),
            Catch(
                test="tests/property/plan/test_elections.py::test_who_has_applied_most_takes_over",
                says="law 4: .* has applied more",
            ),
            Catch(test=_SIMULATION, says="law 4: "),
        ),
    ),
    Mutant(
        mistake="restart the dead primary",
        path="plan/shard.py",
        # A replica alone is no primary, so the last one is started again, beside it.
        before="    alive = [node_id for node_id, fact in facts.items() if not is_down(fact)]\n",
        after=(
            "    alive = [\n"
            "        node_id\n"
            "        for node_id, fact in facts.items()\n"
            "        if not is_down(fact)\n"
            "        and ((e := engine_of(fact)) is None or e.role is Role.PRIMARY)\n"
            "    ]\n"
        ),
        catches=(
            Catch(
                test=f"{_PLAN}test_a_replica_takes_over_even_where_automatic_failover_is_off",
                says="StartNode",
            ),
            Catch(test=_MACHINE, says="law [23]: "),
            Catch(test=_SIMULATION, says="law [23]: |nobody takes over"),
        ),
    ),
    Mutant(
        mistake="forget before promoted",
        path="plan/joining.py",
        before="    if view.phase is not Phase.SERVING or view.primary_id == node_id:\n",
        after="    if view.phase is not Phase.SERVING:\n",
        catches=(
            Catch(
                test=f"{_CHANGES}test_a_node_that_leaves_and_became_the_primary_hands_over_first",
                says="nobody else has its data yet",
            ),
        ),
    ),
    Mutant(
        mistake="act on silence",
        path="plan/shard.py",
        before="    return isinstance(fact.process, Absent | Stopped)\n",
        after="    return not isinstance(fact.process, Running)\n",
        catches=(
            Catch(test=f"{_PLAN}test_silence_is_patience", says="StartNode"),
            Catch(test=_MACHINE, says="law 3: .* without proof that it has ended"),
            Catch(test=_SIMULATION, says="law 3: .* without proof that it has ended"),
        ),
    ),
    Mutant(
        mistake="act on silence",
        path="plan/election.py",
        before=(
            "        if engine is None or (engine.role is Role.PRIMARY and not engine.is_held):\n"
        ),
        after=(
            "        if engine is None:\n"
            "            continue\n"
            "        if engine.role is Role.PRIMARY and not engine.is_held:\n"
        ),
        catches=(
            Catch(
                test=f"{_PLAN}test_nobody_is_promoted_while_one_node_of_the_shard_is_silent",
                says="PromoteNode",
            ),
            Catch(test=_MACHINE, says="law 3: .* is promoted while .* may write"),
            Catch(test=_SIMULATION, says="law 3: .* is promoted while .* may write"),
        ),
    ),
    Mutant(
        mistake="act on silence",
        path="agent/promoting.py",
        # Whoever did not answer in time is taken for dead.
        before=(
            "            raise CommandFailed("
            'f"the primary {over.name} lives and is silent: {fact.reason}")\n'
        ),
        after="            return True\n",
        catches=(
            Catch(
                test=f"{_AGENT}test_nobody_is_promoted_over_a_primary_that_lives",
                says="pattern did not match",
            ),
        ),
    ),
    Mutant(
        mistake="skip the fence",
        path="agent/fencing.py",
        # A polite signal, which a process that hangs never takes, and nobody waits for the proof.
        before="        await running.kill()\n",
        after="        running.send(process.signal.SIGTERM)\n",
        catches=(
            Catch(
                test=f"{_AGENT}"
                "test_a_frozen_process_is_fenced_while_other_commands_of_its_node_wait",
                says="Running",
            ),
        ),
    ),
    Mutant(
        mistake="ignore the epoch",
        path="agent/supervisor.py",
        before="        if epoch < self._epoch:\n",
        after="        if epoch < 0:\n",
        catches=(
            Catch(
                test=f"{_AGENT}test_only_the_process_that_is_named_is_fenced",
                says="StaleEpoch",
            ),
            Catch(
                test="tests/integration/test_agent.py::"
                "test_commands_of_a_controller_that_was_replaced_are_refused",
                says="StaleEpoch",
            ),
        ),
    ),
    Mutant(
        mistake="ignore the epoch",
        path="store/leases.py",
        # A server that takes over goes on with the epoch of the one before.
        before="    epoch = current.epoch if is_held else current.epoch + 1\n",
        after="    epoch = current.epoch\n",
        catches=(
            Catch(
                test="tests/contract/test_store_conformance.py::"
                "test_the_same_owner_after_an_end_is_a_new_tenure",
                says="1, 2",
            ),
        ),
    ),
    Mutant(
        mistake="serve before held is lifted",
        path="engines/acl.py",
        before='        f"user {PUBLIC_USER} off nopass',
        after='        f"user {PUBLIC_USER} on nopass',
        catches=(
            Catch(
                test="tests/contract/test_engine_conformance.py::test_an_engine_starts_held",
                says="NOAUTH|PONG|OK",
            ),
        ),
    ),
    Mutant(
        mistake="serve before held is lifted",
        path="engines/valkey.py",
        before="            is_held=_is_off(public) or _is_off(replication),\n",
        after="            is_held=_is_off(public),\n",
        catches=(
            Catch(
                test="tests/contract/test_engine_conformance.py::"
                "test_half_an_admission_is_done_again",
                says="is_held",
            ),
        ),
    ),
    Mutant(
        mistake="serve before held is lifted",
        path="plan/nodes.py",
        before="    if not (is_primary or is_in_sync):\n",
        after="    if not node_id:\n",
        catches=(
            Catch(
                test=f"{_PLAN}test_a_replica_waits_outside_until_it_is_in_sync",
                says="AdmitNode",
            ),
            Catch(test=_SIMULATION, says="law 4: .* is admitted before it is in sync"),
        ),
    ),
    Mutant(
        mistake="serve before held is lifted",
        path="plan/node_status.py",
        before="    if engine.is_held or engine.is_loading:\n",
        after="    if engine.is_loading:\n",
        catches=(
            Catch(test=_CREATION, says="available"),
            Catch(test=_SIMULATION, says="available"),
        ),
    ),
    Mutant(
        mistake="two issuers",
        path="plan/election.py",
        # Every shard elects at once.
        before=(
            "    for view in views:\n"
            "        is_fresh = struck is None or view.shard.shard_id in struck\n"
            "        if view.phase is not Phase.UNDECIDED or not is_fresh:\n"
            "            continue\n"
            "        winner = elect(group, view.shard, observed, status)\n"
            "        if winner is not None:\n"
            "            shard, others = view.shard, _others(group, views)\n"
            "            return {shard.shard_id: "
            "_promotion(group, shard, winner, how, observed, others=others)}\n"
            "    return {}\n"
        ),
        after=(
            "    return {\n"
            "        view.shard.shard_id: _promotion("
            "group, view.shard, winner, how, observed, others=_others(group, views))\n"
            "        for view in views\n"
            "        if view.phase is Phase.UNDECIDED\n"
            "        and (struck is None or view.shard.shard_id in struck)\n"
            "        and (winner := elect(group, view.shard, observed, status)) is not None\n"
            "    }\n"
        ),
        catches=(
            Catch(
                test=f"{_PLAN}test_below_a_majority_one_shard_after_the_other_takes_over",
                says="demo-0002-002",
            ),
            Catch(test=_SIMULATION, says="law 6: "),
        ),
    ),
    Mutant(
        mistake="skip the fence",
        path="plan/election.py",
        # Whoever has hung for long enough counts as ended.
        before="        if is_down(fact):\n            continue\n",
        after=(
            "        if is_down(fact) or (fact.silence is not None and fact.silence.seconds > 3):\n"
            "            continue\n"
        ),
        catches=(
            Catch(
                test="tests/unit/plan/test_suspicion.py::"
                "test_a_primary_that_hangs_is_ended_and_succeeded",
                says="its primary is there",
            ),
            Catch(test=_MACHINE, says="law 3: .* is promoted while .* may write"),
            Catch(test=_SIMULATION, says="law 3: .* is promoted while .* may write"),
        ),
    ),
    Mutant(
        mistake="act on silence",
        path="plan/suspicion.py",
        # One probe in vain is enough, whatever its cause.
        before=(
            "    return silence.probes >= PROBES_MIN and "
            "silence.seconds >= PATIENCE_S[silence.cause]\n"
        ),
        after="    return silence.probes > 0\n",
        catches=(
            Catch(
                test="tests/unit/plan/test_suspicion.py::test_each_cause_has_its_patience",
                says="assert .'demo-00[12]'. == ..",
            ),
            Catch(test=_SIMULATION, says="is fenced"),
        ),
    ),
    Mutant(
        mistake="two issuers",
        path="control/loop.py",
        # The rounds promote and fence themselves, beside the rescue.
        before=(
            "        others = tuple(s for s in steps if not isinstance("
            "s.command, HandOver | rescue.URGENT))\n"
        ),
        after="        others = tuple(s for s in steps if not isinstance(s.command, HandOver))\n",
        catches=(
            Catch(
                test=f"{_ISSUERS}test_a_round_leaves_promotions_to_the_rescue",
                says="assert 2 == 1",
            ),
        ),
    ),
    Mutant(
        mistake="two issuers",
        path="control/rescue.py",
        # A role changes hands as planned while the rescue looks whether it must.
        before=(
            "        async with self._roles[group.spec.uid]:\n"
            "            return await self._executor.execute(group, steps, known_at_s=known_at_s)\n"
        ),
        after="        return await self._executor.execute(group, steps, known_at_s=known_at_s)\n",
        catches=(
            Catch(
                test=f"{_ISSUERS}test_nobody_is_rescued_while_roles_change_as_planned",
                says=r"assert \[.*\] == \[\]",
            ),
        ),
    ),
    Mutant(
        mistake="ignore the epoch",
        path="control/execute.py",
        # Whoever slept goes on with what was true before.
        before="        if age_s > KNOWLEDGE_S:\n",
        after="        if age_s < 0:\n",
        catches=(
            Catch(
                test=f"{_ISSUERS}test_who_wakes_acts_on_nothing_that_was_true_before",
                says="law 6: .* rests on what was true 60 s ago",
            ),
        ),
    ),
)
