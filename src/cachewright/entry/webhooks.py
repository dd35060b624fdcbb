"""Where shall events be posted to? The values of `cachewright up --notify-url`, checked.

https://example.org/hook                          every topic
arn:aws:sns:us-east-1:000000000000:ops=http://... this topic
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterable

from cachewright.entry.failures import BadSetting
from cachewright.model.errors import ClientFault
from cachewright.model.settings import Webhook
from cachewright.service import rules

#: One task each reads the events; a few dozen would be a mistake.
_WEBHOOKS_MAX = 16
_URL_CHARS_MAX = 2_048
#: What an address consists of; in particular no space and nothing that ends a line.
_URL = re.compile(r"https?://[!-~]+", re.ASCII)


def read(texts: Iterable[str]) -> tuple[Webhook, ...]:
    """Return the webhooks, at most one for each topic."""
    found: dict[str | None, Webhook] = {}
    for text in texts:
        webhook = _read_one(text)
        if webhook.topic_arn in found:
            raise BadSetting(f"--notify-url names {webhook.topic_arn or 'every topic'} twice")
        found[webhook.topic_arn] = webhook
    if len(found) > _WEBHOOKS_MAX:
        raise BadSetting(f"--notify-url is given {len(found)} times, at most {_WEBHOOKS_MAX}")
    return tuple(found.values())


def _read_one(text: str) -> Webhook:
    topic_arn: str | None = None
    url = text
    if text.startswith("arn:"):
        topic_arn, _, url = text.partition("=")
        try:
            rules.topic_arn(topic_arn)
        except ClientFault as error:
            raise BadSetting(
                f"--notify-url: {error}; one is arn:aws:sns:us-east-1:000000000000:name"
            ) from None
    if not _is_url(url):
        # The text itself stays out of the message: it may hold a secret.
        raise BadSetting(
            "--notify-url needs an address such as http://127.0.0.1:8080/events, without a user "
            "name, or TOPIC_ARN=ADDRESS"
        )
    return Webhook(url=url, topic_arn=topic_arn)


def _is_url(text: str) -> bool:
    if len(text) > _URL_CHARS_MAX or not _URL.fullmatch(text):
        return False
    try:
        parts = urllib.parse.urlsplit(text)
        has_port = parts.port is None or parts.port > 0
    except ValueError:
        return False
    return bool(parts.hostname) and has_port and "@" not in parts.netloc
