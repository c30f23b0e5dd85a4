from activities._ledger import ledger, note
from loom_core.activities import activity
from loom_core.wire.json import JsonObject


@activity("log-event")
def log_event(*, event: str, subject: JsonObject | None = None) -> None:
    """Note in the ledger that something happened; the same call again notes nothing new."""
    with ledger() as connection:
        note(connection, event, subject or {})
