"""How does the command line ask the service? Signed requests to its native face.

Which service is known from the state folder: `server.json` says where it listens and
`credentials.json` holds the root credentials; both are readable for their owner only. Imported
when a command runs, not when the command line starts.
"""

from __future__ import annotations

import html
import http.client
import os
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from cachewright.cli import answers
from cachewright.cli.failures import Failed
from cachewright.kit.secret import Secret
from cachewright.model.checks import CheckFigures
from cachewright.protocol import sign

T = TypeVar("T")

#: Everything but an installation is answered from memory within milliseconds.
ANSWER_TIMEOUT_S = 15.0
#: An installation downloads some megabytes of packages; the service gives up earlier than this.
INSTALL_TIMEOUT_S = 600.0
#: The service looks at the group first, and proves that the process has ended.
DRILL_TIMEOUT_S = 30.0
#: The largest answer is a group of 500 nodes: about 150 kB.
_ANSWER_BYTES_MAX = 16 * 1024 * 1024
_BASE = "/cachewright/v1"
_JSON, _FORM = "application/json", "application/x-www-form-urlencoded; charset=utf-8"
#: The one that ElastiCache's API has had from the start.
_API_VERSION = "2015-02-02"
_API_ERROR = re.compile(rb"<Code>(.*?)</Code>\s*<Message>(.*?)</Message>", re.DOTALL)
#: What to do next, by error code; `_failure` has more.
_HINTS = {
    "NoOperationFault": "`cachewright show NAME` tells what is there",
    "NodeGroupsPerReplicationGroupQuotaExceeded": "`cachewright up --max-nodes-per-group` sets it",
    "NodeQuotaForClusterExceeded": "`cachewright up --max-nodes-per-group` sets it",
    "NodeQuotaForCustomerExceeded": "`cachewright up --max-nodes` sets it",
}
_OK = 200
_NOT_FOUND = 404


@dataclass(frozen=True, kw_only=True, slots=True)
class _ServerFile:
    url: str
    pid: int
    region: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _CredentialsFile:
    access_key_id: str
    secret_access_key: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """A service that can be asked."""

    url: str
    region: str
    access_key_id: str
    secret: Secret

    def groups(self) -> answers.Groups:
        """Return every group."""
        return self._ask("GET", "/groups", answers.Groups)

    def group(self, name: str) -> answers.Group:
        """Return all that is known of one group."""
        return self._ask("GET", f"/groups/{_quoted(name)}", answers.Group)

    def explain(self, name: str) -> answers.Explanation:
        """Return what would be done next for a group."""
        return self._ask("GET", f"/groups/{_quoted(name)}/explain", answers.Explanation)

    def engines(self) -> answers.Engines:
        """Return every engine line that can run."""
        return self._ask("GET", "/engines", answers.Engines)

    def install(self, engine: str, api_version: str) -> answers.Engine:
        """Bring an engine onto the host of the service; may take a minute."""
        body = msgspec.json.encode({"engine": engine, "version": api_version})
        path = "/engines/install"
        return self._ask("POST", path, answers.Engine, body=body, timeout_s=INSTALL_TIMEOUT_S)

    def drill(self, name: str, shard_id: str, *, accepts_loss: bool) -> answers.Drill:
        """End the primary of a shard; returns when its process is gone."""
        body = msgspec.json.encode({"shard_id": shard_id, "accepts_loss": accepts_loss})
        path = f"/groups/{_quoted(name)}/drill"
        return self._ask("POST", path, answers.Drill, body=body, timeout_s=DRILL_TIMEOUT_S)

    def keep_check(self, name: str, figures: CheckFigures) -> answers.Check:
        """Have the figures of a check kept with its group."""
        body = msgspec.json.encode(figures)
        return self._ask("POST", f"/groups/{_quoted(name)}/checks", answers.Check, body=body)

    def operate(self, action: str, params: Mapping[str, str]) -> None:
        """Carry out an operation of the ElastiCache API; `Failed` says why it was refused."""
        form = {"Action": action, "Version": _API_VERSION, **params}
        body = urllib.parse.urlencode(form).encode()
        status, content = self._exchange("POST", "/", body, ANSWER_TIMEOUT_S, _FORM)
        if status != _OK:
            raise api_failure(status, content)

    def _ask(
        self,
        method: str,
        path: str,
        kind: type[T],
        *,
        body: bytes = b"",
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> T:
        status, content = self._exchange(method, _BASE + path, body, timeout_s)
        if status != _OK:
            raise _failure(status, content)
        try:
            return msgspec.json.decode(content, type=kind)
        except msgspec.DecodeError as error:
            raise Failed(
                f"the service at {self.url} gave an answer that is not understood ({error})",
                hint="is it another version of cachewright?",
            ) from None

    def _exchange(
        self, method: str, path: str, body: bytes, timeout_s: float, content_type: str = _JSON
    ) -> tuple[int, bytes]:
        headers = sign.sign_request(
            method,
            self.url + path,
            {"Content-Type": content_type},
            body,
            access_key=self.access_key_id,
            secret=self.secret,
            region=self.region,
        )
        host = urllib.parse.urlsplit(self.url)
        connection = http.client.HTTPConnection(host.hostname or "", host.port, timeout=timeout_s)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read(_ANSWER_BYTES_MAX)
        except TimeoutError:
            raise Failed(f"the service at {self.url} did not answer in {timeout_s:g} s") from None
        except (OSError, http.client.HTTPException) as error:
            raise Failed(
                f"the service at {self.url} cannot be reached ({error})",
                hint="start one with `cachewright up`",
            ) from None
        finally:
            connection.close()


def find_service(state_dir: Path) -> Service:
    """Return the service that runs in `state_dir`; `Failed` says how to start one."""
    server = _read(state_dir / "server.json", _ServerFile)
    if server is None or not _is_alive(server.pid):
        raise Failed(f"no service runs for {state_dir}", hint="start one with `cachewright up`")
    found = _read(state_dir / "credentials.json", _CredentialsFile)
    access_key_id = os.environ.get("CACHEWRIGHT_ACCESS_KEY_ID")
    secret = os.environ.get("CACHEWRIGHT_SECRET_ACCESS_KEY")
    if access_key_id and secret:
        found = _CredentialsFile(access_key_id=access_key_id, secret_access_key=secret)
    if found is None:
        raise Failed(
            f"no credentials for the service of {state_dir}",
            hint="set CACHEWRIGHT_ACCESS_KEY_ID and CACHEWRIGHT_SECRET_ACCESS_KEY as for `up`",
        )
    return Service(
        url=server.url,
        region=server.region,
        access_key_id=found.access_key_id,
        secret=Secret(found.secret_access_key),
    )


def _read(path: Path, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except PermissionError:
        raise Failed(
            f"{path} belongs to another user", hint="ask as the user who runs it"
        ) from None
    except (OSError, msgspec.DecodeError) as error:
        raise Failed(f"{path} cannot be read ({error})") from None


def _is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _quoted(name: str) -> str:
    return urllib.parse.quote(name, safe="")


def api_failure(status: int, content: bytes) -> Failed:
    """Return the refusal that the XML of the AWS face tells."""
    found = _API_ERROR.search(content)
    if found is None:
        return Failed(f"the service answered with HTTP status {status}")
    code, message = (html.unescape(part.decode(errors="replace")) for part in found.groups())
    return _failed(answers.Failure(code=code, message=message), is_missing=status == _NOT_FOUND)


def _failure(status: int, content: bytes) -> Failed:
    try:
        failure = msgspec.json.decode(content, type=answers.Failure)
    except msgspec.DecodeError:
        return Failed(f"the service answered with HTTP status {status}")
    return _failed(failure, is_missing=status == _NOT_FOUND)


def _failed(failure: answers.Failure, *, is_missing: bool) -> Failed:
    if is_missing:
        return Failed(failure.message, hint="`cachewright ls` shows what is there")
    if failure.code in {"InvalidReplicationGroupState", "InvalidCacheClusterState"}:
        return Failed(
            failure.message, hint="`cachewright explain NAME` says what the group waits for"
        )
    if failure.code in {"InvalidClientTokenId", "SignatureDoesNotMatch"}:
        return Failed(
            f"the service refused the credentials ({failure.message})",
            hint="was it started with other CACHEWRIGHT_ACCESS_KEY_ID and "
            "CACHEWRIGHT_SECRET_ACCESS_KEY than are set here?",
        )
    return Failed(failure.message, hint=_HINTS.get(failure.code, ""))
