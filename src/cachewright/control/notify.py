"""Who tells webhooks what has happened? One task a webhook, which reads events behind a cursor.

The cursor is durable and moves when an event was taken or given up, so that an event is sent at
least once and in order, whatever dies in between; its `MessageId` stays the same. What waits waits
in the store: a webhook that is down costs no memory, and neither the loop nor another webhook
waits for it. The form is what SNS posts to an HTTP endpoint, without a signature.
"""

from __future__ import annotations

import asyncio
import datetime
import functools
import hashlib
import itertools
import json
import logging
import urllib.parse
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from cachewright.kit import http_post
from cachewright.kit.backoff import delay_after
from cachewright.kit.clock import Clock
from cachewright.kit.http_post import Unanswered
from cachewright.kit.tasks import Supervised
from cachewright.model.event_names import name_of
from cachewright.model.settings import Webhook
from cachewright.model.status import Event
from cachewright.store.records import NOTIFIED, ChangeSet, Records

_log = logging.getLogger(__name__)

#: How often it is looked whether anything was written, seconds; a look costs microseconds.
_LOOK_EVERY_S = 0.2
#: What SNS does: 50 tries, first a second and in the end 20 seconds apart, 15 minutes in all.
TRIES_MAX = 50
_PAUSE_FIRST_S = 1.0
_PAUSE_LAST_S = 20.0
#: Older events are not sent any more: what a webhook missed while it was away for longer is
#: no news, and its backlog must not keep the news from it.
AGE_MAX = datetime.timedelta(hours=1)
#: Events that are looked up at once.
_BATCH = 100
#: Answers after which trying again may help.
_TRY_AGAIN = frozenset({408, 425, 429})
_SERVER_ERROR = 500
_REDIRECT = 300
_OK = 200
#: Sorts after every key.
_LAST = "~"
#: Name space of the ids of messages.
_IDS = uuid.UUID("0f6f63b6-6a52-4d0e-9d52-0c6c3f7c8f3e")


@dataclass(frozen=True, kw_only=True, slots=True)
class Cursor:
    """The last event that a webhook is done with."""

    #: Revision at which the event was written: later events may have earlier times.
    revision: int
    #: Its key, among events of one revision.
    key: str


class Notifier:
    """Sends the events of groups with an active topic to the webhook of the topic."""

    def __init__(
        self,
        *,
        store: Records,
        clock: Clock,
        webhooks: tuple[Webhook, ...],
        pause_first_s: float = _PAUSE_FIRST_S,
        deadline_s: float = http_post.DEADLINE_S,
    ) -> None:
        self._records = store
        self._clock = clock
        self._urls = {webhook.topic_arn: webhook.url for webhook in webhooks}
        self._pause_first_s = pause_first_s
        self._deadline_s = deadline_s
        #: Webhooks of which the log says that they fail.
        self._failing: set[str] = set()

    async def begin(self) -> None:
        """Let webhooks that are new begin with what happens from now on."""
        changes = ChangeSet()
        for url in set(self._urls.values()):
            if self._cursor(url) is None:
                changes.create(_key(url), Cursor(revision=self._records.revision, key=_LAST))
        if not changes.is_empty():
            await self._records.commit(changes)

    def start(self, tasks: Supervised) -> None:
        """Send from now on, until `tasks` ends."""
        for url in sorted(set(self._urls.values())):
            tasks.start(f"notify-{_shown(url)}", functools.partial(self._work, url))

    async def _work(self, url: str) -> None:
        seen = -1
        while True:
            revision = self._records.revision
            if revision != seen:
                await self.send_waiting(url)
                seen = revision
            await asyncio.sleep(_LOOK_EVERY_S)

    async def send_waiting(self, url: str) -> None:
        """Send every event that waits for this webhook now, in the order they were written."""
        for place, event in self._waiting(url):
            await self._send(url, place, event)
            changes = ChangeSet()
            changes.put(_key(url), place)
            await self._records.commit(changes)

    def _waiting(self, url: str) -> list[tuple[Cursor, Event]]:
        """Return the first events that are not too old and that the webhook is not done with."""
        cursor = self._cursor(url) or Cursor(revision=0, key="")
        found = self._records.events_written(
            since=self._clock.now() - AGE_MAX, after=(cursor.revision, cursor.key)
        )
        mine = (
            (Cursor(revision=revision, key=key), event)
            for revision, key, event in found
            if event.topic_arn and self._url_of(event.topic_arn) == url
        )
        return list(itertools.islice(mine, _BATCH))

    def _url_of(self, topic_arn: str) -> str | None:
        return self._urls.get(topic_arn, self._urls.get(None))

    async def _send(self, url: str, place: Cursor, event: Event) -> None:
        """Send one event until it is taken, or given up with a word in the log."""
        message = _message(place, event)
        headers = _headers(place, event)
        reason = ""
        for number in range(TRIES_MAX):
            if number:
                pause_s = delay_after(number - 1, first_s=self._pause_first_s, last_s=_PAUSE_LAST_S)
                await asyncio.sleep(pause_s)
            if self._clock.now() - event.at > AGE_MAX:
                break
            try:
                status = await http_post.post(url, message, headers, deadline_s=self._deadline_s)
            except Unanswered as error:
                reason = str(error)
                self._warn_once(url, reason)
                continue
            if _OK <= status < _REDIRECT:
                self._failing.discard(url)
                return
            reason = f"status {status}"
            if status < _SERVER_ERROR and status not in _TRY_AGAIN:
                break
            self._warn_once(url, reason)
        _log.warning(
            "event=notification_given_up webhook=%s source=%s message=%r reason=%r",
            _shown(url), event.source_id, event.message, reason,
        )  # fmt: skip

    def _warn_once(self, url: str, reason: str) -> None:
        """Say that a webhook fails, once until it takes something again."""
        if url not in self._failing:
            self._failing.add(url)
            _log.warning("event=webhook_fails webhook=%s reason=%r", _shown(url), reason)

    def _cursor(self, url: str) -> Cursor | None:
        found = self._records.find(_key(url), Cursor)
        return None if found is None else found.value


def _key(url: str) -> str:
    # Not the address itself: it may hold a secret, and it may be long.
    return NOTIFIED + hashlib.sha256(url.encode()).hexdigest()[:32]


def _shown(url: str) -> str:
    """Return a webhook as it may appear in a log: paths and queries may hold secrets."""
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _message_id(place: Cursor) -> str:
    return str(uuid.uuid5(_IDS, place.key))


def _message(place: Cursor, event: Event) -> bytes:
    at = event.at.astimezone(datetime.UTC).replace(tzinfo=None).isoformat(timespec="milliseconds")
    return json.dumps(
        {
            "Type": "Notification",
            "MessageId": _message_id(place),
            "TopicArn": event.topic_arn,
            "Message": json.dumps({name_of(event): event.source_id}),
            "Timestamp": f"{at}Z",
            "MessageAttributes": {
                "SourceType": {"Type": "String", "Value": event.source_type.value},
                "Text": {"Type": "String", "Value": event.message},
            },
        }
    ).encode()


def _headers(place: Cursor, event: Event) -> Mapping[str, str]:
    return {
        "Content-Type": "text/plain; charset=UTF-8",
        "User-Agent": "cachewright",
        "x-amz-sns-message-type": "Notification",
        "x-amz-sns-message-id": _message_id(place),
        "x-amz-sns-topic-arn": event.topic_arn,
    }
