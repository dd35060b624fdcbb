"""Who may do what inside an engine? Renders `users.acl`: three users, two of them off.

| user | may | at start |
|---|---|---|
| `default` | what a client of ElastiCache may; no password | off |
| `cachewright-replication` | what a replica or a moving slot needs of its source | off |
| `cachewright-admin` | everything; the agent's connection | on |

While slots are moved to it an engine has one more for each that gives (`MOVER_PREFIX`).

An engine that starts from this file is *held* (safety law 2): nobody gets anything out of it but
its administrator. Admission switches two users on, at run time only: after any restart, by
whomever, the engine is held again. It can be repeated without touching connected clients.

What is closed to clients, and why:

- What ElastiCache closes (user guide, "Restricted commands"): configuration, persistence,
  replication, modules, users, and the commands that change the cluster. It answers "unknown
  command" there; the engine's own answer for a closed command is `NOPERM`.
- `failover`, `replconf` and the slot migration of Valkey 9, which belong to the same families.
- `script debug`: it forks an engine process that nobody watches and that survives the engine.
- `pfdebug`, `pfselftest`: the engine's own test commands.
- What the parameter `rename-commands` blocks. It can change while the engine runs: the same rules
  are then given anew in one command, which clients that are connected live through.

What stays open although it looks dangerous: `acl list` and `acl getuser`, as in ElastiCache. They
show SHA-256 hashes of passwords that are 256 bits of randomness (`kit.ids.new_password`) and that
cannot be used in place of the password. `monitor`, `slowlog` and `commandlog` leave `AUTH` out.
`client kill` can end our connections: the agent connects again, replicas too. `client pause` can
silence an engine for the administrator as a slow script can: silence is never taken for death.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from cachewright.engines.text import UnusableLaunch, check_text
from cachewright.model.commands import Launch
from cachewright.model.engines import Capabilities, capabilities_of
from cachewright.model.parameters import RENAME_COMMANDS, blocked_commands

ADMIN_USER = "cachewright-admin"
REPLICATION_USER = "cachewright-replication"
PUBLIC_USER = "default"
#: Begins the names under which keys of moving slots come in.
MOVER_PREFIX = "cachewright-mover-"

_CLOSED_ALWAYS = (
    "acl|deluser",
    "acl|load",
    "acl|save",
    "acl|setuser",
    "bgrewriteaof",
    "bgsave",
    "cluster|addslots",
    "cluster|addslotsrange",
    "cluster|bumpepoch",
    "cluster|delslots",
    "cluster|delslotsrange",
    "cluster|failover",
    "cluster|flushslots",
    "cluster|forget",
    "cluster|links",
    "cluster|meet",
    "cluster|replicate",
    "cluster|reset",
    "cluster|saveconfig",
    "cluster|set-config-epoch",
    "cluster|setslot",
    "config",
    "debug",
    "failover",
    "migrate",
    "module",
    "pfdebug",
    "pfselftest",
    "psync",
    "replconf",
    "replicaof",
    "save",
    "script|debug",
    "shutdown",
    "slaveof",
    "sync",
)
_CLOSED_SLOT_MIGRATION = (
    "cluster|cancelslotmigrations",
    "cluster|migrateslots",
    "cluster|syncslots",
)
#: What a replica says to its primary, in all versions (checked by replicating as this user).
_REPLICATION_RULES = ("+ping", "+psync", "+replconf", "+sync")
#: What the source of moving slots says to their target (Valkey 9): the keys, as commands.
_SLOT_MIGRATION_RULES = (
    "+cluster|syncslots", "~*", "+@write", "-migrate", "+select", "+multi", "+exec"
)  # fmt: skip


def closed_commands(capabilities: Capabilities) -> tuple[str, ...]:
    """Return the commands that clients may not use, as ACL rules name them.

    Only commands that the engine knows: an unknown one would keep it from starting.
    """
    if capabilities.atomic_slot_migration:
        return (*_CLOSED_ALWAYS, *_CLOSED_SLOT_MIGRATION)
    return _CLOSED_ALWAYS


def public_rules(capabilities: Capabilities, settings: Mapping[str, str]) -> tuple[str, ...]:
    """Return the rules of what clients may do; the same ones for a start and for a change.

    Raises:
        UnusableLaunch: the commands to block are not written as they have to be.
    """
    try:
        blocked = blocked_commands(settings.get(RENAME_COMMANDS, ""))
    except ValueError as error:
        raise UnusableLaunch(f"{RENAME_COMMANDS}: {error}") from None
    return ("+@all", *(f"-{command}" for command in closed_commands(capabilities) + blocked))


def render_users(launch: Launch) -> bytes:
    """Return the content of `users.acl` for an engine that starts held."""
    capabilities = capabilities_of(launch.engine, launch.engine_version)
    public = public_rules(capabilities, dict(launch.settings))
    replication = " ".join(
        _REPLICATION_RULES + (_SLOT_MIGRATION_RULES if capabilities.atomic_slot_migration else ())
    )
    replication_hash = _hashed("replication_password", launch.replication_password)
    admin_hash = _hashed("admin_password", launch.admin_password)
    lines = (
        f"user {PUBLIC_USER} off nopass ~* &* {' '.join(public)}",
        f"user {REPLICATION_USER} off {replication_hash} resetkeys resetchannels -@all "
        f"{replication}",
        f"user {ADMIN_USER} on {admin_hash} ~* &* +@all",
    )
    return "".join(f"{line}\n" for line in lines).encode("ascii")


def _hashed(field: str, password: str) -> str:
    return "#" + hashlib.sha256(check_text(field, password)).hexdigest()
