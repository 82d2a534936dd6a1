"""docs/tasks.md: no task is silently absent, every command parses, and every test it names is there."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from brushloop.cli.main import app

ROOT = Path(__file__).resolve().parents[1]
ROWS = [
    [cell.strip() for cell in line.strip("| \n").split(" | ")]
    for line in (ROOT / "docs" / "tasks.md").read_text().splitlines()
    if re.match(r"\| \d+ \|", line)
]
FAMILIES = {
    "text": 1, "analysis": 10, "control": 10, "semantic": 5, "element": 4, "repainting": 3, "layers": 2, "reference": 5,
    "turns": 2,
}  # fmt: skip
"""How many subtasks the sections of ACE's appendix B name."""


def test_every_family_has_all_its_tasks() -> None:
    assert [int(row[0]) for row in ROWS] == list(range(1, len(ROWS) + 1))
    assert {name: sum(row[1] == name for row in ROWS) for name in FAMILIES} == FAMILIES
    assert len({(row[1], row[2]) for row in ROWS}) == len(ROWS) == sum(FAMILIES.values())
    analysed = {row[3].split()[2] for row in ROWS if row[1] == "analysis"}
    assert len(analysed) == 10, "each of the ten inputs has its command"
    assert all(row[4] for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[1]}-{row[2]}".replace(" ", "-"))
def test_the_command_parses_and_the_test_exists(row: list[str]) -> None:
    program, *words = shlex.split(row[3].strip("`"))
    assert program == "brushloop"
    group: Any = typer.main.get_command(app)
    context = group.make_context("brushloop", list(words), resilient_parsing=True)
    while hasattr(group, "commands"):
        assert words and words[0] in group.commands, f"no command {words[0]}"
        name, group = words[0], group.commands[words[0]]
        words = words[1:]
        context = group.make_context(name, list(words), parent=context, resilient_parsing=hasattr(group, "commands"))
    assert context.params, "parsed in full: an unknown option or a missing argument would have raised"
    file, _, test = row[5].strip("`").partition("::")
    tree = ast.parse((ROOT / "tests" / file).read_text())
    assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_a_command_that_does_not_parse_would_be_found() -> None:
    group: Any = typer.main.get_command(app)
    with pytest.raises(Exception, match="No such option"):
        group.commands["outpaint"].make_context("outpaint", ["picture.png", "--sideways", "3"])
