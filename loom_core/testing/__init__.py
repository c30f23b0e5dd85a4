"""Tests without a host: a `Stage` for actors, a `Bench` for programs of any kind."""

from loom_core.testing.bench import Bench
from loom_core.testing.executions import Failed
from loom_core.testing.stage import Stage

__all__ = ["Bench", "Failed", "Stage"]
