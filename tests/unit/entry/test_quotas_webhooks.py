"""Quotas and webhooks are understood or refused with a sentence that names the way out."""

from __future__ import annotations

import dataclasses

import pytest

from cachewright.entry import quotas, webhooks
from cachewright.entry.failures import BadSetting
from cachewright.model.settings import Limits, Webhook

TOPIC = "arn:aws:sns:us-east-1:000000000000:ops"


def test_a_quota_replaces_the_default_and_the_last_one_counts() -> None:
    given = ["subnet-groups=2", "reserved-nodes = 0", "subnet-groups=3"]
    expected = dataclasses.replace(Limits(), subnet_groups=3, reserved_nodes=0)
    assert quotas.apply(Limits(), given) == expected


def test_every_name_is_a_quota_and_is_described_with_its_default() -> None:
    for entry in quotas.described().split(", "):
        name, default = entry.removesuffix(")").split(" (")
        assert quotas.apply(Limits(), [f"{name}={default}"]) == Limits()


@pytest.mark.parametrize(
    "text",
    [
        "", "subnet-groups", "subnet_groups=1", "sandwiches=1", "=1", "subnet-groups=",
        "subnet-groups=-1", "subnet-groups=1e3", "subnet-groups=10001", "subnet-groups=\u0661",
        "tags-per-resource=51", "nodes-per-memcached-cluster=0", "reserved-nodes=" + "9" * 5_000,
    ],
)  # fmt: skip
def test_a_wrong_quota_is_refused(text: str) -> None:
    with pytest.raises(BadSetting, match="--quota"):
        quotas.apply(Limits(), [text])


def test_a_webhook_is_for_every_topic_or_for_one() -> None:
    assert webhooks.read(["http://[::1]:80/x?a=b", f"{TOPIC}=https://example.org"]) == (
        Webhook(url="http://[::1]:80/x?a=b"),
        Webhook(url="https://example.org", topic_arn=TOPIC),
    )
    assert webhooks.read([]) == ()


@pytest.mark.parametrize(
    "text",
    [
        "", "example.org", "ftp://example.org", "http://", "http://:80", "http://x:99999/",
        "http://x:0/", "http://secret:word@x/", "http://x/a b", "http://x/\r\nHost: y",
        "http://\u00e4/", "http://x/" + "a" * 2_048, f"{TOPIC}=", TOPIC, "arn:aws:s3:::b=http://x",
        "http://[::1", f"{TOPIC}=file:///x",
    ],
)  # fmt: skip
def test_a_wrong_webhook_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(BadSetting, match="--notify-url") as caught:
        webhooks.read([text])
    assert "secret" not in str(caught.value)


def test_webhooks_are_one_for_a_topic_and_not_many() -> None:
    with pytest.raises(BadSetting, match="twice"):
        webhooks.read(["http://x", "http://y"])
    with pytest.raises(BadSetting, match="twice"):
        webhooks.read([f"{TOPIC}=http://x", f"{TOPIC}=http://x"])
    with pytest.raises(BadSetting, match="at most 16"):
        webhooks.read([f"{TOPIC}{number}=http://x" for number in range(17)])


def test_the_address_of_a_webhook_is_not_shown() -> None:
    assert "word" not in repr(Webhook(url="http://x/?token=word"))
