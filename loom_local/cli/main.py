"""The `loom` command. Each subcommand is a module of its own, imported when it is asked for."""

import importlib
from typing import Any

import click

COMMANDS = {
    "actors": "List, show and steer actors.",
    "deadletters": "List, show and replay messages that actors could not serve.",
    "diagram": "Draw a pipeline as a Mermaid flowchart.",
    "dev": "Serve a function app on this machine, and reload it when it changes.",
    "pipelines": "List, show and store the pipelines of a host.",
    "run": "Run a pipeline and wait for its result.",
    "runs": "List, show and steer runs.",
    "send": "Send a message to an actor or to a queue.",
    "validate": "Check pipeline files without running them.",
}


class LazyGroup(click.Group):
    """A group whose command NAME is the object NAME of loom_local.cli.NAME."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  as above
        if cmd_name not in COMMANDS:
            return None
        module: Any = importlib.import_module(f"loom_local.cli.{cmd_name}")
        return getattr(module, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  as above
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name]) for name in sorted(COMMANDS)])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="loom-durable", prog_name="loom")
def main() -> None:
    """Loom: durable execution for AI agents, on Azure Functions and on this machine."""


if __name__ == "__main__":
    main()
