import asyncio
from typing import Annotated

from annotated_types import Ge, Le

from loom_core.activities import activity


@activity("sleep")
async def sleep(*, seconds: Annotated[float, Ge(0), Le(60)]) -> None:
    """Wait. For more than a minute a pipeline has durable timers, which need no process to stay up."""
    await asyncio.sleep(seconds)
