"""How are the operations on service updates carried out? Input to service to output."""

from __future__ import annotations

from cachewright.api import render_service_updates as render
from cachewright.api.render import Output
from cachewright.protocol import pagination
from cachewright.protocol.decode import Params
from cachewright.service import inputs, service_updates, update_actions, update_batches
from cachewright.service import inputs_service_updates as kinds
from cachewright.service.context import Service
from cachewright.service.update_batches import Processed


async def describe(service: Service, params: Params) -> Output:
    """DescribeServiceUpdates."""
    wanted = inputs.read(kinds.DescribeServiceUpdates, params)
    page = pagination.paginate(
        service_updates.describe(service, wanted),
        key=lambda row: row[0].name,
        operation="DescribeServiceUpdates",
        marker=wanted.marker or None,
        size=pagination.page_size(wanted.max_records),
    )
    updates = [render.service_update(*row) for row in page.items]
    return {"Marker": page.next_marker, "ServiceUpdates": updates}


async def describe_actions(service: Service, params: Params) -> Output:
    """DescribeUpdateActions."""
    wanted = inputs.read(kinds.DescribeUpdateActions, params)
    page = pagination.paginate(
        update_actions.describe(service, wanted),
        key=lambda keyed: keyed[0],
        operation="DescribeUpdateActions",
        marker=wanted.marker or None,
        size=pagination.page_size(wanted.max_records),
    )
    now, shows_nodes = service.clock.now(), bool(wanted.show_node_level_update_status)
    actions = [
        render.update_action(action, now, shows_nodes=shows_nodes) for _, action in page.items
    ]
    return {"Marker": page.next_marker, "UpdateActions": actions}


async def apply(service: Service, params: Params) -> Output:
    """BatchApplyUpdateAction."""
    wanted = inputs.read(kinds.BatchApplyUpdateAction, params)
    return _results(await update_batches.apply(service, wanted))


async def stop(service: Service, params: Params) -> Output:
    """BatchStopUpdateAction."""
    wanted = inputs.read(kinds.BatchStopUpdateAction, params)
    return _results(await update_batches.stop(service, wanted))


def _results(done: tuple[Processed, ...]) -> Output:
    return {
        "ProcessedUpdateActions": [render.processed(each) for each in done if not each.refusal],
        "UnprocessedUpdateActions": [render.processed(each) for each in done if each.refusal],
    }
