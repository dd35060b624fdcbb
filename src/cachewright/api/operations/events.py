"""How is it answered what has happened? DescribeEvents."""

from __future__ import annotations

from cachewright.api import render
from cachewright.api.render import Output
from cachewright.protocol import pagination
from cachewright.protocol.decode import Params
from cachewright.service import events, inputs
from cachewright.service.context import Service


async def describe(service: Service, params: Params) -> Output:
    """DescribeEvents."""
    wanted = inputs.read(inputs.DescribeEvents, params)
    page = pagination.paginate(
        events.describe(service, wanted),
        key=lambda keyed: keyed[0],
        operation="DescribeEvents",
        marker=wanted.marker or None,
        size=pagination.page_size(wanted.max_records),
    )
    return {
        "Marker": page.next_marker,
        "Events": [render.event(happened) for _, happened in page.items],
    }
