"""Which steps does every request pass? read, authenticate, decode, check, operate, encode, send.

Each stage takes what the one before it made, so that no stage can be left out by mistake: only
`read` makes a `WireRequest`, only `authenticate` a `Signed`, only `decode` a `Call`. A stage that
refuses raises; `faults` says what the caller sees.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from cachewright.api import operations, unsupported
from cachewright.api.faults import Refused
from cachewright.api.render import Output
from cachewright.kit.clock import Clock
from cachewright.kit.secret import Secret
from cachewright.protocol import check, decode, encode, service_model, sigv4
from cachewright.protocol.decode import BODY_BYTES_MAX, Call
from cachewright.protocol.errors import WireError
from cachewright.protocol.sigv4 import WireRequest
from cachewright.service.context import Service

# ASGI is a protocol of untyped dicts; this file is where it becomes typed.
Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

#: A body of 1 MiB takes a second on a slow line; callers that trickle are cut off. Seconds.
_READ_DEADLINE_S = 10.0
#: A caller that does not take its answer is given up, seconds.
_SEND_DEADLINE_S = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """What is needed to tell callers apart."""

    lookup: Callable[[str], Secret | None]
    region: str
    clock: Clock


@dataclass(frozen=True, kw_only=True, slots=True)
class Signed:
    """A request whose sender is proven."""

    request: WireRequest
    access_key: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """An answer, ready to be sent."""

    status: int
    content_type: bytes
    body: bytes
    request_id: str
    #: Methods that the path does take; only where the one given was refused.
    allow: bytes = b""
    #: What is left of the request is not read.
    closes: bool = False


class Disconnected(Exception):
    """The caller went away before the request was complete: there is nobody to answer."""


async def read(scope: Scope, receive: Receive) -> WireRequest:
    """Return the whole request, within limits of size and time."""
    declared = next((v for name, v in scope["headers"] if name == b"content-length"), b"0")
    # The HTTP server refuses what is no number; here it only has to be a small one.
    if len(declared) > len(str(BODY_BYTES_MAX)) or int(declared) > BODY_BYTES_MAX:
        raise _too_large()
    try:
        async with asyncio.timeout(_READ_DEADLINE_S):
            body = await _read_body(receive)
    except TimeoutError:
        raise Refused(
            "RequestTimeout", f"The request was not complete within {_READ_DEADLINE_S:.0f} s."
        ) from None
    return WireRequest(
        method=scope["method"],
        path=scope["raw_path"],
        query=scope["query_string"],
        headers=scope["headers"],
        body=body,
    )


async def _read_body(receive: Receive) -> bytes:
    chunks: list[bytes] = []
    size_bytes = 0
    while True:  # bounded by the size and by the deadline around it
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        chunk: bytes = message.get("body", b"")
        size_bytes += len(chunk)
        if size_bytes > BODY_BYTES_MAX:
            raise _too_large()
        chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large() -> WireError:
    return WireError(
        "RequestEntityTooLarge", f"The body of a request may have at most {BODY_BYTES_MAX} bytes."
    )


def authenticate(
    request: WireRequest, gate: Gate, *, service_name: str = service_model.SERVICE_NAME
) -> Signed:
    """Return the request with its sender, or raise why the signature does not count."""
    access_key = sigv4.verify(
        request,
        secret_of=gate.lookup,
        region=gate.region,
        now=gate.clock.now(),
        service=service_name,
    )
    return Signed(request=request, access_key=access_key)


def decode_call(signed: Signed) -> Call:
    """Return which operation is asked for, with typed parameters."""
    request = signed.request
    content_type = next((v for name, v in request.headers if name == b"content-type"), None)
    return decode.decode(
        service_model.load_service_model(),
        query=request.query,
        body=request.body,
        content_type=None if content_type is None else content_type.decode("latin-1"),
    )


def check_call(call: Call) -> None:
    """Refuse what is not offered, then parameters that break the service model's constraints."""
    reason = unsupported.REASONS.get(call.operation.name)
    if reason is not None:
        raise Refused(
            "UnsupportedOperation", f"{call.operation.name} is not offered here: {reason}."
        )
    check.check(call.operation, call.params)


async def operate(service: Service, call: Call) -> Output:
    """Carry the operation out."""
    return await operations.HANDLERS[call.operation.name](service, call.params)


def encode_output(call: Call, output: Output, request_id: str) -> bytes:
    """Return the body of a successful answer."""
    return encode.encode_response(call.operation, output, request_id)


async def send_reply(send: Send, reply: Reply) -> None:
    """Send an answer; a caller that does not take it is given up."""
    headers = [
        (b"content-type", reply.content_type),
        (b"content-length", str(len(reply.body)).encode()),
        (b"x-amzn-requestid", reply.request_id.encode()),
    ]
    if reply.allow:
        headers.append((b"allow", reply.allow))
    if reply.closes:
        headers.append((b"connection", b"close"))
    async with asyncio.timeout(_SEND_DEADLINE_S):
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})
