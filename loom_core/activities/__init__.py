"""Activities: named work that may touch the world, as plain Python or as a sandboxed WASM module."""

from loom_core.activities.call import Call, current_call
from loom_core.activities.definition import Definition
from loom_core.activities.registry import MARK, activity
from loom_core.activities.run import Activities

__all__ = ["MARK", "Activities", "Call", "Definition", "activity", "current_call"]
