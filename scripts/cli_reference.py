"""Write docs/cli.md, the reference of the command line, from the command line itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from brushloop.cli.main import EPILOG, app

PAGE = Path(__file__).resolve().parents[1] / "docs" / "cli.md"


def reference() -> str:
    """The page, as Markdown."""
    group: Any = typer.main.get_command(app)
    lines = [
        "# The command line",
        "",
        "Written by `python scripts/cli_reference.py`; a test fails when it is out of date. "
        "Progress and errors go to stderr, the result to stdout, as JSON with `--json`. " + EPILOG,
    ]
    for name, command in _commands(group):
        named = [param for param in command.params if param.param_type_name == "argument"]
        options = [param for param in command.params if param.param_type_name == "option"]
        usage = " ".join(["brushloop", name, *(param.metavar or param.name.upper() for param in named), "[options]"])
        lines += ["", f"## {name}", " ".join((command.help or "").split()), "", "```", usage, "```", ""]
        lines += ["| | |", "|---|---|"]
        lines += [_row(f"`{(param.metavar or param.name).strip('[]')}`", param) for param in named]
        lines += [_row(f"`{', '.join(param.opts)}`", param) for param in options]
    return "\n".join(lines) + "\n"


def _commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Every command with its full name; those of a group come one after the other."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def _row(what: str, param: Any) -> str:
    usual = (
        f" Default: {param.default}." if isinstance(param.default, int) and not isinstance(param.default, bool) else ""
    )
    told = (param.help or "").replace("<", r"\<")
    return f"| {what} | {told}{usual} |"


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
