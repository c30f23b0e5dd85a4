"""Pipelines: a definition is compiled to a plan, and the plan runs as a program."""

from loom_core.pipelines.compile import compile_definition as parse
from loom_core.pipelines.lanes import lane_program
from loom_core.pipelines.plan import Plan
from loom_core.pipelines.run import pipeline_program

PROGRAMS = {"pipeline": pipeline_program, "lane": lane_program}

__all__ = ["PROGRAMS", "Plan", "lane_program", "parse", "pipeline_program"]
