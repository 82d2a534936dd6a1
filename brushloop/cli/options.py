"""The options that several commands share, and what they open."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from brushloop.agent.studio import Studio
    from brushloop.creation import Creation

_PAINTER = typer.Option(help="Painter: embedded, embedded:<set>, or flux:<folder>.")
_VLM = typer.Option(
    "--vlm",
    help="Vision-language model: embedded, embedded:<set>, hf:<folder or id@commit>, or openai:<url>#<model>.",
)

# What is looked at
Name = Annotated[
    str | None,
    typer.Argument(
        help="A creation's id, a step's hash, the beginning of either, or an exported picture.png.", metavar="[NAME]"
    ),
]
Names = Annotated[
    list[str] | None, typer.Argument(help="Creations, as for show; by default all.", metavar="[NAMES]...")
]
Last = Annotated[bool, typer.Option("--last", help="The newest creation; the same as giving no name.")]

# What is wanted
Picture = Annotated[Path, typer.Argument(help="A PNG, JPEG or WebP.", metavar="PICTURE")]
Size = Annotated[str | None, typer.Option(help="WIDTHxHEIGHT in pixels; by default the painter's own.")]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="The same wish and seed give the same result.")]
Steps = Annotated[int | None, typer.Option(min=1, max=200, help="Denoising steps.")]

# Who makes it, and how
Painter = Annotated[str, _PAINTER]
VLM = Annotated[str, _VLM]
AnyPainter = Annotated[str | None, _PAINTER]
"""Without one, that of the creation that is gone on with."""
AnyVLM = Annotated[str | None, _VLM]
"""Likewise."""
Review = Annotated[
    Path | None, typer.Option("--review", help="Rules of content review, a .toml; by default BRUSHLOOP_REVIEW.")
]
Effort = Annotated[str | None, typer.Option(help="How much work: low, normal or high.")]

# What comes out
Out = Annotated[Path | None, typer.Option("--out", help="Also write the picture to this PNG, with its recipe.")]
Json = Annotated[bool, typer.Option("--json", help="JSON on stdout and nothing else.")]


def opened(name: str | None, last: bool = False) -> Creation:
    """The creation named, else the newest.

    Raises:
        UnknownCreationError: there is none.
        InputError: a name and `--last` were given, or a picture that carries no recipe.
    """
    from brushloop.agent.names import creation_of
    from brushloop.store import Store

    return creation_of(Store(), name, last)


def studio_for(
    painter: str | None = None,
    vlm: str | None = None,
    old: Creation | None = None,
    review: Path | None = None,
    effort: str | None = None,
) -> Studio:
    """A studio with the makers named, else those that an old creation was begun with."""
    from brushloop.agent.names import effort_of, makers_of
    from brushloop.agent.rules import Rules
    from brushloop.agent.studio import Studio

    usual = makers_of(old) if old else ("embedded", "embedded")
    effort = effort or (effort_of(old) if old else None)
    return Studio(painter or usual[0], vlm or usual[1], policy=Rules.read(review) if review else None, effort=effort)
