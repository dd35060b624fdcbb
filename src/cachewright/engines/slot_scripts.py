"""What does an engine do in one step when it gives small slots away? Lua texts, no behaviour here.

While a script runs, its engine serves nobody. So a client that asks for a key of such a slot is
either answered by the engine that has it, or sent on (`MOVED`) to the one that owns it by then;
never is it sent after a key (`ASK`), which redis-py and valkey-py cannot follow to a node that they
have not heard of (redis-py#4015).

Nothing has changed here until all keys are at the other engine. Then the script waits at a gate:
`MIGRATE` of one more key, to a listener that answers when the other engine owns the slots. Whether
it does is not known for certain where no answer comes, so from then on the keys are gone here:
Redis knows the owner, or sends clients after them (`MIGRATING`). Valkey lets no script use
`SETSLOT` beside replicas: it disowns the slots until it hears who owns them, which it has been told
by then. Whoever is served before it has read that is told that nobody serves the slot
(`CLUSTERDOWN`), which stock clients try again; nothing is written that would be thrown away when
the news comes.

With the key goes the script's own config epoch: the other engine must know it before it owns the
slots. Else what was on its way from here when the script began would take them back from it.

Source: cluster.c, script.c of Redis 7.0; cluster_legacy.c, blocked.c of Valkey 8.0.
"""

from __future__ import annotations

#: Arguments: how, in one word list of which the password is the last word, then the slots. Logs of
#: slow commands keep the first 128 bytes of an argument. Returns what has come of it, and why.
GIVE = r"""
local own, is_primary, epoch = {}, {}, nil
for line in string.gmatch(redis.call('CLUSTER', 'NODES'), '[^\n]+') do
    if string.find(line, 'master', 1, true) then is_primary[string.sub(line, 1, 40)] = true end
    if string.find(line, 'myself', 1, true) then
        local slots
        epoch, slots = string.match(line, ('%S+ '):rep(6) .. '(%S+) %S+(.*)')
        for first, last in string.gmatch(slots, ' (%d+)%-?(%d*)') do
            own[#own + 1] = {tonumber(first), tonumber(last) or tonumber(first)}
        end
    end
end
local function is_own(slot)
    for _, range in ipairs(own) do
        if range[1] <= slot and slot <= range[2] then return true end
    end
end

local to_id, marker, user, address, port, gate_address, gate_port, patience_ms, is_slow,
    bytes_left, keys_left, password = string.match(ARGV[1], ('(%S+) '):rep(11) .. '(%S+)')
local waits = is_slow == '1'

if not is_primary[to_id] then return {'strange', 'the one that takes is not known here'} end
if not waits then
    for _, link in ipairs(redis.call('CLUSTER', 'LINKS')) do
        local of = {}
        for field = 1, #link, 2 do of[link[field]] = link[field + 1] end
        if of['node'] == to_id and of['send-buffer-used'] > 0 then return {'busy', ''} end
    end
end
local batches = {}
for number = 2, #ARGV do
    local slot = tonumber(ARGV[number])
    if not is_own(slot) then return {'strange', 'slot ' .. slot .. ' is not owned here'} end
    local count = redis.call('CLUSTER', 'COUNTKEYSINSLOT', slot)
    keys_left = keys_left - count
    if keys_left < 0 then return {'large', ''} end
    local names = count == 0 and {} or redis.call('CLUSTER', 'GETKEYSINSLOT', slot, count)
    for first = 1, #names, 1000 do
        local batch = {unpack(names, first, math.min(first + 999, #names))}
        for _, name in ipairs(batch) do
            bytes_left = bytes_left - (redis.call('MEMORY', 'USAGE', name) or 0)
            if bytes_left < 0 then return {'large', ''} end
        end
        batches[#batches + 1] = batch
    end
end

for _, batch in ipairs(batches) do
    local said = redis.pcall(
        'MIGRATE', address, port, '', 0, patience_ms, 'COPY', 'AUTH2', user, password,
        'KEYS', unpack(batch))
    if said.err then
        return {string.find(said.err, 'OOM', 1, true) and 'full' or 'kept', said.err}
    end
end
redis.call('UNLINK', marker) -- who has written may go on, whatever memory there is
redis.call('SET', marker, 'epoch ' .. epoch)
local gate = redis.pcall(
    'MIGRATE', gate_address, gate_port, '', 0, patience_ms, 'COPY', 'KEYS', marker)
local is_owner = not gate.err
redis.call('UNLINK', marker)
if gate.err and string.find(gate.err, 'NOTYET', 1, true) then return {'kept', gate.err} end
for _, batch in ipairs(batches) do redis.call('UNLINK', unpack(batch)) end
for number = 2, #ARGV do
    if waits then
        redis.call('CLUSTER', 'DELSLOTS', ARGV[number])
    else
        redis.call('CLUSTER', 'SETSLOT', ARGV[number], is_owner and 'NODE' or 'MIGRATING', to_id)
    end
end
return {is_owner and 'given' or 'cut', gate.err or ''}
"""
