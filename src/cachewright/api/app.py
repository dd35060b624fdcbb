"""Which face answers a request? The ASGI application: AWS face, native face, health.

    GET  /health              200 {"status": "ok"} once the service can answer
    POST / and GET /          the AWS face, signed
         /cachewright/v1/...  the native face, signed
    anything else             404 or 405

Whatever comes in, the answer is one of ours: an unforeseen exception is logged with its request
id and answered without details.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import msgspec

from cachewright.api import faults, operations, pages, stages
from cachewright.api.faults import Refused
from cachewright.api.native import PREFIX, NativeFace
from cachewright.api.stages import Gate, Receive, Reply, Scope, Send
from cachewright.control.loop import Explanation
from cachewright.kit import ids
from cachewright.kit.secret import Secret
from cachewright.model.engines import EngineName
from cachewright.protocol import caller_identity, encode
from cachewright.protocol.sigv4 import WireRequest
from cachewright.rpc.agent import EngineOffer
from cachewright.service.context import Service

App = Callable[[Scope, Receive, Send], Awaitable[None]]

_XML = encode.CONTENT_TYPE.encode()
_JSON = b"application/json"
_OK = 200
_HEALTH_PATH = b"/health"
_PATHS = (b"/", b"", _HEALTH_PATH)
_HEALTH = msgspec.json.encode({"status": "ok"})
#: Errors after which the rest of the request is not read.
_CLOSING = frozenset({"RequestEntityTooLarge", "RequestTimeout", "MethodNotAllowed"})


def make_app(
    service: Service,
    *,
    lookup: Callable[[str], Secret | None],
    explain: Callable[[str], Awaitable[Explanation | None]],
    install: Callable[[EngineName, str], Awaitable[EngineOffer]],
    end_node: Callable[[str, str], Awaitable[None]],
) -> App:
    """Return the application.

    Args:
        service: what use cases need.
        lookup: the secret access key of an access key id, `None` for an unknown one.
        explain: what the loop would do next for the group with this uid.
        install: bring a build of an engine line onto the host.
        end_node: end the process of a node of the group with this uid, and prove it.
    """
    gate = Gate(lookup=lookup, region=service.settings.region, clock=service.clock)
    native = NativeFace(service=service, explain=explain, install=install, end_node=end_node)
    return _Application(service=service, gate=gate, native=native)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Application:
    service: Service
    gate: Gate
    native: NativeFace
    pages: pages.Pages = field(default_factory=pages.Pages)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request_id = ids.new_request_id()
        try:
            reply = await self._answer(scope, receive, request_id)
        except stages.Disconnected:
            return
        except Exception as error:  # noqa: BLE001 every error becomes an answer, see `faults`
            reply = _refusal(faults.fault_of(error, request_id), scope, request_id)
        await stages.send_reply(send, reply)

    async def _answer(self, scope: Scope, receive: Receive, request_id: str) -> Reply:
        path: bytes = scope["raw_path"]
        _require_method(path, scope["method"])
        if path == _HEALTH_PATH:
            return Reply(status=_OK, content_type=_JSON, body=_HEALTH, request_id=request_id)
        request = await stages.read(scope, receive)
        if path.startswith(PREFIX):
            signed = stages.authenticate(request, self.gate)
            body = msgspec.json.encode(await self.native.answer(signed.request))
            return Reply(status=_OK, content_type=_JSON, body=body, request_id=request_id)
        body = await self._answer_aws(request, request_id)
        return Reply(status=_OK, content_type=_XML, body=body, request_id=request_id)

    async def _answer_aws(self, request: WireRequest, request_id: str) -> bytes:
        if caller_identity.is_asked(request.body):
            stages.authenticate(request, self.gate, service_name=caller_identity.SERVICE)
            return caller_identity.encode(self.service.settings.account_id, request_id)
        signed = stages.authenticate(request, self.gate)
        key = pages.key_of(request)
        revision = self.service.records.revision
        known = None if key is None else self.pages.find(key, revision, request_id)
        if known is not None:
            return known
        call = stages.decode_call(signed)
        stages.check_call(call)
        output = await stages.operate(self.service, call)
        body = stages.encode_output(call, output, request_id)
        # `revision` is from before the read: a change in between makes the page useless, not wrong.
        if key is not None and call.operation.name in operations.FROM_RECORDS_ALONE:
            self.pages.keep(key, revision, body, request_id)
        return body


def _require_method(path: bytes, method: str) -> None:
    """Refuse paths that there are not, and methods that a path does not take."""
    if path not in _PATHS and not path.startswith(PREFIX):
        raise Refused("NoSuchKey", "There is nothing at this path.")
    if method not in _allowed(path):
        raise Refused("MethodNotAllowed", f"This path takes {' and '.join(_allowed(path))}.")


def _allowed(path: bytes) -> tuple[str, ...]:
    return ("GET", "HEAD") if path == _HEALTH_PATH else ("GET", "POST")


def _refusal(fault: faults.Fault, scope: Scope, request_id: str) -> Reply:
    path: bytes = scope["raw_path"]
    is_native = path.startswith(PREFIX) or path == _HEALTH_PATH
    body = (
        msgspec.json.encode({"code": fault.code, "message": fault.message})
        if is_native
        else encode.encode_error(fault.code, fault.message, fault.http_status, request_id)
    )
    return Reply(
        status=fault.http_status,
        content_type=_JSON if is_native else _XML,
        body=body,
        request_id=request_id,
        allow=", ".join(_allowed(path)).encode() if fault.code == "MethodNotAllowed" else b"",
        closes=fault.code in _CLOSING,
    )
