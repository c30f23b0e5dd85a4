"""The change feed of a tenant's documents, in the mode that has the latest version of each."""

from typing import Any, Final

from loom_core.adapters.cosmos import items
from loom_core.errors import InvalidError
from loom_core.ports.state import MAX_QUERIED, Document

_PAGES: Final = 10
"""Pages that are read past what nobody asked for, before the caller gets a cursor and no documents."""


async def changes(
    container: Any, tenant: str, prefix: str, cursor: str | None, limit: int
) -> tuple[list[tuple[str, Document]], str]:
    for _ in range(_PAGES):
        changed, cursor = await _page(container, tenant, cursor, limit)
        # Where a tenant has several physical partitions, the SDK reads the whole of them.
        found = [
            (item["partition"], items.document(item))
            for item in changed
            if item["tenant"] == tenant and item["id"].startswith(prefix)
        ]
        if found or not changed:
            return found, cursor
    assert cursor is not None
    return [], cursor


async def _page(
    container: Any, tenant: str, cursor: str | None, limit: int
) -> tuple[list[dict[str, Any]], str]:
    # The SDK's own way to the cursor leads through `last_response_headers`, which any other request of the
    # client may have replaced. What the hook gets is the answer's own, into which the SDK puts its cursor.
    answers: list[Any] = []

    def hook(headers: Any, _: Any) -> None:
        answers.append(headers)

    # (And "" it would take for none.)
    start: dict[str, Any] = (
        {"continuation": cursor or "?"} if cursor is not None else {"partition_key": [tenant]}
    )
    changed: list[dict[str, Any]] = []
    try:
        pages = container.query_items_change_feed(
            **start, max_item_count=max(1, min(limit, MAX_QUERIED)), response_hook=hook
        ).by_page()
        async for page in pages:
            changed = [item async for item in page]
            break
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidError("this is no cursor of this store's change feed") from error
    return changed, str(answers[-1]["etag"])
