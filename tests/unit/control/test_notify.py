"""Does a webhook get every event once, in order, whatever it answers and whoever dies?"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from cachewright.control import notify
from cachewright.control.notify import Notifier
from cachewright.kit.clock import ManualClock
from cachewright.kit.tasks import Supervised
from cachewright.model.settings import Webhook as Setting
from cachewright.model.status import Event, SourceType
from cachewright.store.records import ChangeSet, Records
from cachewright.store.sqlite import SqliteStore
from tests.unit.control import webhook_kit
from tests.unit.control.webhook_kit import CLOSE, ENDLESS, GARBAGE, HANG, Webhook

NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=datetime.UTC)
TOPIC = "arn:aws:sns:us-east-1:000000000000:ops"
#: What is answered at all is answered by then on a busy machine.
PATIENCE_S = 10.0
OTHER = "arn:aws:sns:us-east-1:000000000000:other"


class Bench:
    """A store on disk and a clock that waits."""

    def __init__(self, records: Records) -> None:
        self.records = records
        self.clock = ManualClock(NOW)

    async def happen(
        self,
        *messages: str,
        topic: str = TOPIC,
        at: datetime.datetime | None = None,
        source: SourceType = SourceType.CACHE_CLUSTER,
    ) -> None:
        """Write events in one transaction."""
        changes = ChangeSet()
        for message in messages:
            event = Event(
                source_type=source, source_id="demo", message=message, at=at or self.clock.now()
            )
            changes.add_event(event, topic_arn=topic)
        await self.records.commit(changes)

    def notifier(self, *webhooks: Setting, deadline_s: float = PATIENCE_S) -> Notifier:
        return Notifier(
            store=self.records,
            clock=self.clock,
            webhooks=webhooks,
            pause_first_s=0.0,
            deadline_s=deadline_s,
        )


@contextlib.asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Bench]:
    store = await SqliteStore.open(folder / "state" / "store.db")
    try:
        yield Bench(Records(store))
    finally:
        await store.close()


def run(folder: Path, scenario: Callable[[Bench, Webhook], Awaitable[None]]) -> None:
    async def within() -> None:
        async with opened(folder) as bench, webhook_kit.webhook() as webhook:
            await scenario(bench, webhook)

    asyncio.run(within())


def test_an_event_comes_as_sns_posts_it(tmp_path: Path) -> None:
    async def scenario(bench: Bench, webhook: Webhook) -> None:
        notifier = bench.notifier(Setting(url=webhook.url))
        await notifier.begin()
        await bench.happen("Cache cluster created")
        await notifier.send_waiting(webhook.url)
        (posted,) = webhook.posted
        assert posted.path == "/hook?token=secret"
        message_id = posted.document["MessageId"]
        assert posted.document == {
            "Type": "Notification",
            "MessageId": message_id,
            "TopicArn": TOPIC,
            "Message": '{"ElastiCache:CacheClusterProvisioningComplete": "demo"}',
            "Timestamp": "2026-01-02T03:04:05.678Z",
            "MessageAttributes": {
                "SourceType": {"Type": "String", "Value": "cache-cluster"},
                "Text": {"Type": "String", "Value": "Cache cluster created"},
            },
        }
        assert posted.headers["x-amz-sns-message-type"] == "Notification"
        assert posted.headers["x-amz-sns-message-id"] == message_id
        assert posted.headers["x-amz-sns-topic-arn"] == TOPIC
        assert posted.headers["content-type"] == "text/plain; charset=UTF-8"

    run(tmp_path, scenario)


def test_only_events_with_a_topic_are_sent_and_each_to_its_own_webhook(tmp_path: Path) -> None:
    async def scenario(bench: Bench, webhook: Webhook) -> None:
        async with webhook_kit.webhook() as other:
            notifier = bench.notifier(
                Setting(url=webhook.url), Setting(url=other.url, topic_arn=OTHER)
            )
            await notifier.begin()
            await bench.happen("no topic", topic="")
            await bench.happen("Cache cluster deleted")
            await bench.happen("Cache cluster created", topic=OTHER)
            for url in (webhook.url, other.url):
                await notifier.send_waiting(url)
            assert webhook.names() == ["ElastiCache:DeleteCacheClusterComplete demo"]
            assert other.names() == ["ElastiCache:CacheClusterProvisioningComplete demo"]

    run(tmp_path, scenario)


def test_without_a_webhook_for_a_topic_nothing_is_sent(tmp_path: Path) -> None:
    async def scenario(bench: Bench, webhook: Webhook) -> None:
        notifier = bench.notifier(Setting(url=webhook.url, topic_arn=OTHER))
        await notifier.begin()
        await bench.happen("Cache cluster deleted")
        await notifier.send_waiting(webhook.url)
        assert webhook.posted == []

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param([503, 500], id="it is not well"),
        pytest.param([429, 408], id="it is busy"),
        pytest.param([CLOSE, GARBAGE], id="it does not speak HTTP"),
        pytest.param([HANG], id="it does not answer in time"),
        pytest.param([ENDLESS], id="it does not end its answer"),
    ],
)
def test_an_event_is_sent_again_until_it_is_taken(tmp_path: Path, answers: list[int]) -> None:
    async def scenario(bench: Bench, webhook: Webhook) -> None:
        webhook.answers = list(answers)
        # Who hangs does so for the whole of it.
        notifier = bench.notifier(Setting(url=webhook.url), deadline_s=1.0)
        await notifier.begin()
        await bench.happen("Cache cluster created", "Cache cluster deleted")
        await notifier.send_waiting(webhook.url)
        created, deleted = (
            "ElastiCache:CacheClusterProvisioningComplete demo",
            "ElastiCache:DeleteCacheClusterComplete demo",
        )
        assert webhook.names() == [created] * (len(answers) + 1) + [deleted]
        ids = [posted.document["MessageId"] for posted in webhook.posted]
        assert len(set(ids)) == 2

    run(tmp_path, scenario)


@pytest.mark.parametrize("status", [301, 400, 404])
def test_what_a_webhook_refuses_is_not_sent_again(tmp_path: Path, status: int) -> None:
    async def scenario(bench: Bench, webhook: Webhook) -> None:
        webhook.answers = [status]
        notifier = bench.notifier(Setting(url=webhook.url))
        await notifier.begin()
        await bench.happen("Cache cluster created", "Cache cluster deleted")
        await notifier.send_waiting(webhook.url)
        await notifier.send_waiting(webhook.url)
        assert len(webhook.posted) == 2

    run(tmp_path, scenario)


def test_tries_are_bounded_and_the_log_says_so_without_secrets(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(bench: Bench, webhook: Webhook) -> None:
        webhook.answers = [503] * notify.TRIES_MAX
        notifier = bench.notifier(Setting(url=webhook.url))
        await notifier.begin()
        await bench.happen("Cache cluster created", "Cache cluster deleted")
        with caplog.at_level(logging.WARNING):
            await notifier.send_waiting(webhook.url)
        assert len(webhook.posted) == notify.TRIES_MAX + 1
        failing, given_up = caplog.messages
        assert "webhook_fails" in failing
        assert "Cache cluster created" in given_up
        assert all("status 503" in line for line in caplog.messages)
        assert "token" not in caplog.text

    run(tmp_path, scenario)


def test_old_news_is_skipped(tmp_path: Path) -> None:
    async def scenario(bench: Bench, webhook: Webhook) -> None:
        notifier = bench.notifier(Setting(url=webhook.url))
        await notifier.begin()
        await bench.happen(*(f"Cache node {number} restarted" for number in range(1, 500)))
        bench.clock.advance(notify.AGE_MAX.total_seconds() + 1)
        await bench.happen("Cache cluster deleted")
        await notifier.send_waiting(webhook.url)
        assert webhook.names() == ["ElastiCache:DeleteCacheClusterComplete demo"]

    run(tmp_path, scenario)


def test_an_event_that_grows_old_while_it_is_tried_is_given_up(tmp_path: Path) -> None:
    async def scenario(bench: Bench, webhook: Webhook) -> None:
        webhook.answers = [503] * notify.TRIES_MAX
        notifier = bench.notifier(Setting(url=webhook.url))
        await notifier.begin()
        await bench.happen("Cache cluster created", "Cache cluster deleted")
        sending = asyncio.create_task(notifier.send_waiting(webhook.url))
        await webhook.wait_for(2)
        bench.clock.advance(notify.AGE_MAX.total_seconds() + 1)
        await sending
        assert len(webhook.posted) < notify.TRIES_MAX
        assert "DeleteCacheClusterComplete" not in " ".join(webhook.names())

    run(tmp_path, scenario)


def test_an_event_that_was_decided_early_and_written_late_is_sent(tmp_path: Path) -> None:
    async def scenario(bench: Bench, webhook: Webhook) -> None:
        notifier = bench.notifier(Setting(url=webhook.url))
        await notifier.begin()
        await bench.happen("Cache cluster created")
        await notifier.send_waiting(webhook.url)
        await bench.happen("Cache cluster deleted", at=NOW - datetime.timedelta(seconds=5))
        await notifier.send_waiting(webhook.url)
        assert [name.split(" ")[0] for name in webhook.names()] == [
            "ElastiCache:CacheClusterProvisioningComplete",
            "ElastiCache:DeleteCacheClusterComplete",
        ]

    run(tmp_path, scenario)


def test_a_webhook_goes_on_where_it_was_and_a_new_one_begins_now(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with webhook_kit.webhook() as webhook:
            setting = Setting(url=webhook.url)
            async with opened(tmp_path) as bench:
                await bench.happen("before anybody listened")
                notifier = bench.notifier(setting)
                await notifier.begin()
                await bench.happen("one", "two")
                await notifier.send_waiting(webhook.url)
                await bench.happen("three")
            async with opened(tmp_path) as bench, webhook_kit.webhook() as late:
                notifier = bench.notifier(setting, Setting(url=late.url, topic_arn=OTHER))
                await notifier.begin()
                await notifier.send_waiting(webhook.url)
                await notifier.send_waiting(late.url)
                assert late.posted == []
            texts = [
                posted.document["MessageAttributes"]["Text"]["Value"] for posted in webhook.posted
            ]
            assert texts == ["one", "two", "three"]
            assert set(webhook.names()) == {"Cachewright:Notice demo"}

    asyncio.run(scenario())


def test_nobody_waits_for_a_webhook_that_is_gone(tmp_path: Path) -> None:
    async def scenario(bench: Bench, webhook: Webhook) -> None:
        with socket.create_server(("127.0.0.1", 0)) as deaf:
            gone = f"http://127.0.0.1:{deaf.getsockname()[1]}/"
            notifier = bench.notifier(Setting(url=gone), Setting(url=webhook.url, topic_arn=OTHER))
            await notifier.begin()
            async with Supervised() as tasks:
                notifier.start(tasks)
                for number in range(30):
                    await bench.happen(f"lost {number}")
                    await bench.happen(f"found {number}", topic=OTHER)
                posted = await webhook.wait_for(30)
        texts = [each.document["MessageAttributes"]["Text"]["Value"] for each in posted]
        assert texts == [f"found {number}" for number in range(30)]

    run(tmp_path, scenario)
