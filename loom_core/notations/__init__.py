"""Notations: the ways to write a pipeline, each checked and compiled to the same kind of plan."""

from functools import partial

from loom_core.notations.stages_compile import compile_definition as parse
from loom_core.pipelines import lanes, run

pipeline_program = partial(run.pipeline_program, parse)
PROGRAMS = {"pipeline": pipeline_program, "lane": lanes.lane_program}

__all__ = ["PROGRAMS", "parse", "pipeline_program"]
