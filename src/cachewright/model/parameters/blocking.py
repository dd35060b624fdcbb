"""Which commands can be blocked, and how does a group of values say so? `rename-commands`.

Pure. ElastiCache lets callers rename commands, and disable them with the name `blocked`. Here a
command keeps its name - clients that use another are rare, and nothing would be safer for it - and
`blocked` takes it from clients by their permissions, which can change while an engine runs.

The list is what every engine that can run here has (Redis 7.0's `COMMAND LIST`), less what clients
may not use anyway, and less what a client needs to connect and to find its way in a cluster.
"""

from __future__ import annotations

RENAME_COMMANDS = "rename-commands"
BLOCKED = "blocked"

_COMMANDS = """
    append bitcount bitfield bitfield_ro bitop bitpos blmove blmpop blpop brpop brpoplpush
    bzmpop bzpopmax bzpopmin copy dbsize decr decrby del discard dump echo eval eval_ro
    evalsha evalsha_ro exec exists expire expireat expiretime fcall fcall_ro flushall
    flushdb function geoadd geodist geohash geopos georadius georadius_ro georadiusbymember
    georadiusbymember_ro geosearch geosearchstore get getbit getdel getex getrange getset
    hdel hexists hget hgetall hincrby hincrbyfloat hkeys hlen hmget hmset hrandfield hscan
    hset hsetnx hstrlen hvals incr incrby incrbyfloat keys lastsave latency lcs lindex
    linsert llen lmove lmpop lolwut lpop lpos lpush lpushx lrange lrem lset ltrim memory
    mget monitor move mset msetnx multi object persist pexpire pexpireat pexpiretime pfadd
    pfcount pfmerge psetex psubscribe pttl publish pubsub punsubscribe randomkey rename
    renamenx restore rpop rpoplpush rpush rpushx sadd scan scard script sdiff sdiffstore set
    setbit setex setnx setrange sinter sintercard sinterstore sismember slowlog smembers
    smismember smove sort sort_ro spop spublish srandmember srem sscan ssubscribe strlen
    subscribe substr sunion sunionstore sunsubscribe swapdb time touch ttl type unlink
    unsubscribe unwatch wait watch xack xadd xautoclaim xclaim xdel xgroup xinfo xlen
    xpending xrange xread xreadgroup xrevrange xsetid xtrim zadd zcard zcount zdiff
    zdiffstore zincrby zinter zintercard zinterstore zlexcount zmpop zmscore zpopmax zpopmin
    zrandmember zrange zrangebylex zrangebyscore zrangestore zrank zrem zremrangebylex
    zremrangebyrank zremrangebyscore zrevrange zrevrangebylex zrevrangebyscore zrevrank
    zscan zscore zunion zunionstore
"""
BLOCKABLE: frozenset[str] = frozenset(_COMMANDS.split())


def blocked_commands(value: str) -> tuple[str, ...]:
    """Return the commands that a value of `rename-commands` takes from clients.

    Raises:
        ValueError: it is not written as `command blocked`, once for each command.
    """
    words = value.split(" ") if value else []
    commands, names = words[::2], words[1::2]
    if len(commands) != len(names) or len(set(commands)) != len(commands):
        raise ValueError("a command without another name, or one that is there twice")
    if any(name != BLOCKED for name in names) or not BLOCKABLE.issuperset(commands):
        raise ValueError(f"another name than {BLOCKED}, or a command that cannot be blocked")
    return tuple(commands)
