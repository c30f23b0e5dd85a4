from loom_core.activities import activity
from loom_core.wire.json import Json


@activity("noop")
async def noop(value: Json) -> Json:
    """Return the input."""
    return value
