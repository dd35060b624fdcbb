"""Which lines of the text protocol are answered here, and which bytes are for a node?

The one thing that must never happen is that data are taken for a command. So the length of a
data block is only believed where every version of memcached reads the line alike; versions
disagree about what follows a malformed storage command. After such a line, and after `watch`,
a connection is passed through for the rest of its life: a node does with it what it does.

Source: memcached's `protocol.txt`; `proto_text.c` and `proto_parser.c` of 1.6.18, 1.6.38, 1.6.45.
"""

from __future__ import annotations

import re

from cachewright.discovery import answers
from cachewright.discovery.actions import Action, Ask, Quit, Relay, Reply, Scanned
from cachewright.discovery.answers import Question

#: Bytes of a line. Memcached reads 16 KiB at a time and closes a connection that sends more
#: without a line feed, unless it is a `get` of many keys.
LINE_MAX = 16_384
_LONG_LINES = (b"get ", b"gets ")
_END_OF_BLOCK = 2

_STORAGE_WORDS = frozenset({b"set", b"add", b"replace", b"append", b"prepend", b"cas", b"ms"})
#: Commands after which bytes have another meaning.
_STATEFUL_WORDS = _STORAGE_WORDS | {b"watch", b"quit"}
_GET_WORDS = {b"get": Question.LEGACY, b"gets": Question.LEGACY_CAS}
_WORDS_OF_INTEREST = _STATEFUL_WORDS | {b"config"} | _GET_WORDS.keys()

#: Where the first word of a line begins and what it is, for every version's idea of a word.
_FIRST_WORD = re.compile(rb" *([^ \x00\r\n]*)")
_KEY = rb"[^\x00-\x20\x7f]{1,250}"
#: Flags, expiry and length of a storage command that all versions read alike.
_STORE = re.compile(
    rb"(?:(?:set|add|replace|append|prepend) +%b +([0-9]{1,10}) +(-?[0-9]{1,10}) +([0-9]{1,10})"
    rb"|cas +%b +([0-9]{1,10}) +(-?[0-9]{1,10}) +([0-9]{1,10}) +[0-9]{1,19})"
    rb"(?: +noreply)? *\r?\n" % (_KEY, _KEY)
)
_META_SET = re.compile(rb"ms +%b +([0-9]{1,10})(?: +[A-Za-z][!-~]{0,31}){0,12} *\r?\n" % _KEY)
_CONFIG_SET = re.compile(rb"config +set +%b +[0-9]{1,10} +([0-9]{1,10}) *\r?\n" % _KEY)
_FLAGS_MAX = 0xFFFF_FFFF
_EXPIRY_MAX = 0x7FFF_FFFF
#: Memcached keeps the length and the end of the block in a signed number of 32 bits.
_BLOCK_MAX = 0x7FFF_FFFF - _END_OF_BLOCK


class TextRequests:
    """What one client sends in the text protocol: lines, and data blocks after some of them."""

    def __init__(self) -> None:
        #: All that follows is a node's business.
        self._is_opaque = False
        #: Bytes of a data block that are still to come.
        self._block_bytes = 0
        #: Bytes of a data block that nobody wants.
        self._discard_bytes = 0
        #: Inside of a `get` that is longer than other lines may be.
        self._is_in_long_line = False

    def scan(self, buffer: bytes, start: int) -> Scanned:
        """Settle what one action has, from `start` on."""
        if self._discard_bytes:
            step = min(self._discard_bytes, len(buffer) - start)
            self._discard_bytes -= step
            return start + step, None
        end = self._pass_over_relayed(buffer, start)
        if end > start:
            return end, Relay(buffer[start:end])
        return self._answer_here(buffer, start)

    def _pass_over_relayed(self, buffer: bytes, start: int) -> int:
        """Return the end of all that is for a node."""
        position = start
        while position < len(buffer):
            if self._is_opaque:
                return len(buffer)
            if self._block_bytes:
                step = min(self._block_bytes, len(buffer) - position)
                self._block_bytes -= step
                position += step
                continue
            end = buffer.find(b"\n", position) + 1
            if not end:
                is_long = len(buffer) - position > LINE_MAX
                if is_long and buffer.startswith(_LONG_LINES, position):
                    self._is_in_long_line = True
                return len(buffer) if self._is_in_long_line else position
            if not self._is_in_long_line and not self._is_relayed(buffer[position:end]):
                return position
            self._is_in_long_line = False
            position = end
        return position

    def _is_relayed(self, line: bytes) -> bool:
        """Tell whether a whole line is for a node, and take note of what follows it if so."""
        if len(line) > LINE_MAX:
            return line.startswith(_LONG_LINES)
        first = _FIRST_WORD.match(line)
        assert first is not None  # it matches everything
        word = first[1]
        if word not in _WORDS_OF_INTEREST:
            return True
        is_plain = first.start(1) == 0 and b"\0" not in line
        if word in _STORAGE_WORDS:
            block_bytes = _block_bytes(line) if is_plain else None
            self._is_opaque = block_bytes is None
            self._block_bytes = block_bytes or 0
        elif not is_plain or word == b"watch":
            self._is_opaque = word in _STATEFUL_WORDS
        else:
            return word in _GET_WORDS and _words(line)[1:] != [answers.LEGACY_KEY]
        return True

    def _answer_here(self, buffer: bytes, start: int) -> Scanned:
        end = buffer.find(b"\n", start) + 1
        if (end or len(buffer)) - start > LINE_MAX:
            return len(buffer), Reply(answers.LINE_TOO_LONG, closes=True)
        if not end:
            return start, None
        line = buffer[start:end]
        words = _words(line)
        if words[0] == b"quit":
            return end, Quit(line)
        if words[0] in _GET_WORDS:
            return end, Ask(_GET_WORDS[words[0]])
        return end, self._configure(line, words)

    def _configure(self, line: bytes, words: list[bytes]) -> Action:
        match words[1:]:
            case [b"get", answers.CLUSTER_KEY]:
                return Ask(Question.CONFIG)
            case [b"get", _]:
                return Reply(answers.NO_CONFIG)
            case [b"set", *_] if (written := _CONFIG_SET.fullmatch(line)) is not None:
                self._discard_bytes = int(written[1]) + _END_OF_BLOCK
                return Reply(answers.READ_ONLY)
            case [b"delete", _]:
                return Reply(answers.READ_ONLY)
        return Reply(answers.ERROR)


def _words(line: bytes) -> list[bytes]:
    """Return the words of a line; memcached parts them at spaces alone."""
    return [word for word in line.removesuffix(b"\n").removesuffix(b"\r").split(b" ") if word]


def _block_bytes(line: bytes) -> int | None:
    """Return what follows a storage command; `None` where versions could disagree."""
    if line.startswith(b"ms "):
        meta = _META_SET.fullmatch(line)
        size = None if meta is None else int(meta[1])
    else:
        stored = _STORE.fullmatch(line)
        if stored is None:
            return None
        flags, expiry, size = (int(group) for group in stored.groups() if group is not None)
        if flags > _FLAGS_MAX or abs(expiry) > _EXPIRY_MAX:
            return None
    return None if size is None or size > _BLOCK_MAX else size + _END_OF_BLOCK
