"""A blueprint in a module of its own."""

import azure.durable_functions as df
from durabletask import task

bp = df.Blueprint()


@bp.activity_trigger(input_name="name")
def greet(name: str) -> str:
    return f"hello {name}"


@bp.orchestration_trigger(context_name="context")
def greeting(ctx: task.OrchestrationContext, name: str):
    return (yield ctx.call_activity("greet", input=name))
