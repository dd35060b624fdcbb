"""How is one client served? Its connection, and the one to a node once it needs a node.

Answers keep the order of the requests. A node's replies are not parsed: where the list is asked
for after something was passed on, a marker is sent to the node (`answers.Marker`), and the list
goes into the place of its reply. Until then nothing more of the client is looked at.

Bounded: whoever reads slowly stops the other side. A connection holds at most what one read gave
it, one line, and what the transports buffer before they say that they are full.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Protocol, cast

from cachewright.discovery import answers
from cachewright.discovery.actions import Action, Ask, Quit, Relay, Reply
from cachewright.discovery.answers import Member
from cachewright.discovery.requests import Requests

if TYPE_CHECKING:
    from ssl import SSLContext

#: Nodes are on this host or one hop away: one that does not take a connection in this time is
#: passed over.
CONNECT_TIMEOUT_S = 1.0
#: All nodes together; a client has given up by then.
REACH_TIMEOUT_S = 5.0
#: How long a client may take for what it was still to get when its connection ends.
LINGER_S = 10.0
_NONCE_BYTES = 16


class Host(Protocol):
    """What a connection needs to know of the endpoint as it is now."""

    @property
    def answers(self) -> answers.Answers:
        """The answers for the list of nodes."""

    @property
    def members(self) -> tuple[Member, ...]:
        """The nodes, the one that is asked first at the front."""

    @property
    def node_tls(self) -> SSLContext | None:
        """How TLS is spoken with nodes, if it is."""

    def take(self, client: ClientSide) -> bool:
        """Count a connection; refuse it if there are too many."""

    def release(self, client: ClientSide) -> None:
        """Count a connection no more."""


class ClientSide(asyncio.Protocol):
    """One client."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._requests = Requests()
        self._transport: asyncio.Transport | None = None
        self._node: NodeSide | None = None
        self._connecting: asyncio.Task[None] | None = None
        #: What waits for the list until the node has answered everything before it.
        self._asked: Ask | Reply | None = None
        self._marker: MarkerSearch | None = None
        #: Whether a node may have something to say yet.
        self._is_owed = False
        self._is_full = False
        self._has_ended = False
        self._is_closing = False

    # From the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or say that there are too many."""
        # uvloop's transports are asyncio's by behaviour, not by class.
        self._transport = cast("asyncio.Transport", transport)
        if not self._host.take(self):
            self._transport.write(answers.TOO_MANY_CONNECTIONS)
            self._close()

    def data_received(self, data: bytes) -> None:
        """Look at what came."""
        if not self._is_closing:
            self._requests.feed(data)
            self._go_on()

    def eof_received(self) -> bool:
        """Finish what was asked for before the client stopped sending, then close."""
        self._has_ended = True
        self._go_on()
        is_tls = self._transport is None or self._transport.get_extra_info("sslcontext") is not None
        return not is_tls  # TLS here has no half-closed connections; others we close ourselves

    def pause_writing(self) -> None:
        """Let the node wait for the client, and the client for itself."""
        self._is_full = True
        if self._node is not None:
            self._node.pause_reading()

    def resume_writing(self) -> None:
        """Go on where the client was full."""
        self._is_full = False
        if self._node is not None:
            self._node.resume_reading()
        self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of the node."""
        self._is_closing = True
        self._transport = None
        self._host.release(self)
        if self._connecting is not None:
            self._connecting.cancel()
        if self._node is not None:
            self._node.abort()

    # From the node's side

    def take_from_node(self, data: bytes) -> None:
        """Pass on what a node says; put the list into the place of the marker."""
        if self._transport is None or self._is_closing:
            return
        if self._marker is None:
            self._transport.write(data)
            return
        found, before, after = self._marker.feed(data)
        if before:
            self._transport.write(before)
        if not found:
            return
        self._marker, self._is_owed = None, False
        asked, self._asked = self._asked, None
        if asked is not None:
            self._answer(asked)
        if after and self._transport is not None:
            self._transport.write(after)
        self._go_on()

    def lose_node(self) -> None:
        """End with the node if it owes something; else go on with another when one is needed."""
        self._node = None
        if self._transport is None:
            return
        if self._marker is not None:
            self._transport.write(self._marker.rest())
        if self._is_owed or self._has_ended:
            self._close()

    def node_is_free(self) -> None:
        """Go on where the node was full."""
        self._go_on()

    # The work

    def _go_on(self) -> None:
        """Act on what the client has sent, as far as both sides can take it now."""
        while not self._is_held_up():
            action = self._requests.take()
            if action is None:
                if self._has_ended:
                    self._finish()
                break
            self._act(action)
        if self._transport is not None and not self._is_closing and not self._has_ended:
            # Both do nothing where it is so already.
            if self._is_held_up():
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def _is_held_up(self) -> bool:
        is_node_full = self._node is not None and self._node.is_full
        is_waiting = self._connecting is not None or self._marker is not None
        return self._is_full or is_node_full or is_waiting or self._is_closing

    def _act(self, action: Action) -> None:
        match action:
            case Relay():
                self._relay(action.data)
            case Ask() | Reply() if self._is_owed:
                self._ask_in_turn(action)
            case Ask() | Reply():
                self._answer(action)
            case Quit() if self._is_owed:
                self._relay(action.data)  # the node closes when it has answered
                self._has_ended = True
            case Quit():
                self._close()

    def _answer(self, asked: Ask | Reply) -> None:
        assert self._transport is not None  # nothing is asked for after the end
        if isinstance(asked, Ask):
            self._transport.write(self._host.answers.to(asked.question, asked.opaque))
            return
        self._transport.write(asked.data)
        if asked.closes:
            self._close()

    def _ask_in_turn(self, asked: Ask | Reply) -> None:
        assert self._node is not None  # it owes something
        nonce = b"discovery-" + os.urandom(_NONCE_BYTES).hex().encode()
        make = answers.binary_marker if self._requests.is_binary else answers.text_marker
        marker = make(nonce)
        self._asked, self._marker = asked, MarkerSearch(marker.reply)
        self._node.write(marker.request)

    def _relay(self, data: bytes) -> None:
        if self._node is None:
            self._connecting = asyncio.get_running_loop().create_task(self._reach_node(data))
            return
        self._is_owed = True
        self._node.write(data)

    async def _reach_node(self, data: bytes) -> None:
        """Connect to the first node that takes a connection, and pass on what waits."""
        node = await _connect(self._host, self)
        self._connecting = None
        if node is None:
            if self._transport is not None:
                self._transport.write(answers.no_node(data))
                self._close()
            return
        self._node = node
        if self._is_full:
            node.pause_reading()
        self._relay(data)
        self._go_on()

    def _finish(self) -> None:
        """The client sends no more: end when it has got everything."""
        if self._node is None or not self._is_owed:
            self._close()
        else:
            self._node.finish()

    def _close(self) -> None:
        """End the connection when the client has got what was written."""
        if self._transport is None or self._is_closing:
            return
        self._is_closing = True
        self._transport.close()
        asyncio.get_running_loop().call_later(LINGER_S, self._abort)

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class NodeSide(asyncio.Protocol):
    """The connection to a node, of one client."""

    def __init__(self, client: ClientSide) -> None:
        self._client = client
        self._transport: asyncio.Transport | None = None
        self._is_finishing = False
        #: It has as much to read as may wait for it.
        self.is_full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport (called by the event loop)."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Hand on what the node says (called by the event loop)."""
        self._client.take_from_node(data)

    def pause_writing(self) -> None:
        """Stop reading from the client (called by the event loop)."""
        self.is_full = True

    def resume_writing(self) -> None:
        """Read from the client again (called by the event loop)."""
        self.is_full = False
        self._client.node_is_free()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the client's side (called by the event loop)."""
        self._transport = None
        self._client.lose_node()

    def write(self, data: bytes) -> None:
        """Pass on what a client wants."""
        if self._transport is not None:
            self._transport.write(data)

    def finish(self) -> None:
        """Send no more; a node closes when it has answered, and is given time for that."""
        if self._transport is not None and not self._is_finishing:
            self._is_finishing = True
            if self._transport.can_write_eof():
                self._transport.write_eof()
            asyncio.get_running_loop().call_later(LINGER_S, self.abort)

    def pause_reading(self) -> None:
        """Let the node wait."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Let the node go on."""
        if self._transport is not None:
            self._transport.resume_reading()

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()


class MarkerSearch:
    """Finds a marker in what a node says, in whatever pieces it comes."""

    def __init__(self, reply: bytes) -> None:
        self._reply = reply
        self._tail = b""

    def feed(self, data: bytes) -> tuple[bool, bytes, bytes]:
        """Return whether it was found, what was before it, and what came after it."""
        data = self._tail + data
        position = data.find(self._reply)
        if position >= 0:
            self._tail = b""
            return True, data[:position], data[position + len(self._reply) :]
        held = next(
            size
            for size in range(min(len(self._reply) - 1, len(data)), -1, -1)
            if data.endswith(self._reply[:size])
        )
        self._tail = data[len(data) - held :]
        return False, data[: len(data) - held], b""

    def rest(self) -> bytes:
        """Return what looked like the beginning of it; there is no more to come."""
        return self._tail


async def _connect(host: Host, client: ClientSide) -> NodeSide | None:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(REACH_TIMEOUT_S):
            for member in host.members:
                try:
                    async with asyncio.timeout(CONNECT_TIMEOUT_S):
                        _, node = await loop.create_connection(
                            lambda: NodeSide(client),
                            member.address,
                            member.port,
                            ssl=host.node_tls,
                            server_hostname="" if host.node_tls is not None else None,
                        )
                        return node
                except (OSError, TimeoutError):
                    continue
    except TimeoutError:
        pass
    return None
