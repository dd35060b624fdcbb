"""Which figures of clients are kept with a group? The newest ones of `cachewright check`.

They are whatever the caller says that it saw: nothing is decided by them.
"""

from __future__ import annotations

from cachewright.model.checks import CHECKS_KEPT, CheckFigures, KeptCheck
from cachewright.service import views
from cachewright.service.context import Decision, Service, change
from cachewright.store.records import CHECKS, SPEC, ChangeSet, Records


async def keep(service: Service, name: str, figures: CheckFigures) -> KeptCheck:
    """Keep the figures of a check of a group, and let the oldest ones go."""

    def decide() -> Decision[KeptCheck]:
        group = views.find_any(service.records, name)
        uid = group.spec.uid
        kept = KeptCheck(at=service.clock.now(), figures=figures)
        before = service.records.find(CHECKS + uid, tuple[KeptCheck, ...])
        changes = ChangeSet()
        # Of a group that is gone nothing is kept.
        changes.expect(SPEC + uid, group.spec_revision)
        checks = (*(before.value if before else ()), kept)[-CHECKS_KEPT:]
        changes.replace(CHECKS + uid, checks, before.mod_revision if before else 0)
        return Decision(uid=None, changes=changes, result=kept)

    return await change(service, decide)


def kept_of(records: Records, uid: str) -> tuple[KeptCheck, ...]:
    """Return the figures that are kept of a group, oldest first."""
    found = records.find(CHECKS + uid, tuple[KeptCheck, ...])
    return () if found is None else found.value
