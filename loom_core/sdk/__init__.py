"""The Durable SDK as Loom needs it: what is used beyond its public surface, for exactly these versions.

Replay is only as stable as the SDK, so an unknown version is refused when the room is first imported.
"""

from loom_core.sdk.versions import check

check()

from loom_core.sdk import sticky as sticky  # noqa: E402 - it takes the place of the SDK's executor
