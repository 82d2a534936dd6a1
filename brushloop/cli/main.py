"""The command `brushloop`, whole: the agent's commands, and those of rooms that the agent may not import.

A room adds its commands here: one line for each command or group.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from brushloop.agent import cli as agent
from brushloop.cli import crafting, data, editing, evaluate, second
from brushloop.scale.command import batch
from brushloop.serve.command import mcp, serve
from brushloop.tutorial.command import export, gallery, push

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, epilog=agent.EPILOG)
app.callback(invoke_without_command=True)(agent.top)
app.registered_commands += agent.app.registered_commands
app.command("eval")(evaluate.evaluate)
app.command("second")(second.second)
app.add_typer(data.app, name="data")
app.command("process")(crafting.process)
app.command("recraft")(crafting.recraft)
app.add_typer(crafting.adapters, name="adapters")
app.command("compose")(editing.compose)
app.command("outpaint")(editing.outpaint)
app.command("derive")(editing.derive)
app.add_typer(editing.layers, name="layers")
app.command("batch")(batch)
app.command("serve")(serve)
app.command("mcp")(mcp)
app.command("export")(export)  # takes the place of the agent's, which writes PNG alone
app.command("gallery")(gallery)
app.command("push")(push)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code. Whatever goes wrong is told in one line."""
    return agent.main(argv, app)


if __name__ == "__main__":
    sys.exit(main())
