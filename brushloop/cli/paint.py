"""The commands that make something: paint, edit, resume and fork."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from brushloop.cli.console import progress
from brushloop.cli.made import made_known, made_once
from brushloop.cli.options import (
    VLM,
    AnyPainter,
    AnyVLM,
    Effort,
    Json,
    Last,
    Name,
    Out,
    Painter,
    Picture,
    Review,
    Seed,
    Size,
    studio_for,
)
from brushloop.errors import InputError

Id = Annotated[str | None, typer.Option(help="Name of the creation; by default date and time.")]
Pause = Annotated[
    list[str] | None, typer.Option("--pause", help="Wait for a person, for example before:refine. May be repeated.")
]
Edit = Annotated[
    Path | None,
    typer.Option(
        "--edit", help="Your word: a .json with a plan, a critique or a correction, or a picture to go on from."
    ),
]
Mask = Annotated[
    Path | None, typer.Option("--mask", help="For a correction: only where this picture is white or clear may change.")
]
NextSeed = Annotated[
    int | None,
    typer.Option("--seed", min=0, max=2**63 - 1, help="Another seed; the next one if nothing else changes."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only tell what it is likely to cost.")]
Limits = Annotated[str | None, typer.Option("--budget", help="Limits, for example rounds=4,seconds=60.")]
Rounds = Annotated[int | None, typer.Option(help="Limit: pictures painted.")]
Seconds = Annotated[float | None, typer.Option(help="Limit: seconds.")]
Tokens = Annotated[int | None, typer.Option(help="Limit: tokens of the vision-language model.")]
Pixels = Annotated[int | None, typer.Option(help="Limit: pixels painted.")]


def paint(
    prompt: Annotated[str, typer.Argument(help="What is wanted, in words.", metavar="PROMPT")],
    seed: Seed = 0,
    size: Size = None,
    budget: Limits = None,
    rounds: Rounds = None,
    seconds: Seconds = None,
    tokens: Tokens = None,
    pixels: Pixels = None,
    painter: Painter = "embedded",
    vlm: VLM = "embedded",
    review: Review = None,
    effort: Effort = None,
    id: Id = None,
    pause: Pause = None,
    variants: Annotated[
        int | None, typer.Option(help="Paint so many variants side by side; all are kept, one is chosen.")
    ] = None,
    choose: Annotated[
        str, typer.Option(help="Who chooses among variants: score, or person (brushloop choose ID NUMBER).")
    ] = "score",
    dry_run: DryRun = False,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Plan and paint a picture, round by round."""
    from brushloop.agent.expect import Left
    from brushloop.agent.names import budget_from, png_to, size_from
    from brushloop.cli.choose import chooser, explored, foreseen

    png_to(out)
    by_score = chooser(choose, variants, id, pause)
    shape, limits = size_from(size), budget_from(budget, rounds=rounds, seconds=seconds, tokens=tokens, pixels=pixels)
    studio = studio_for(painter, vlm, review=review, effort=effort)
    forecast = studio.expect(prompt, shape, limits) if dry_run or sys.stderr.isatty() else None
    if dry_run and forecast:
        foreseen(forecast, variants or 1, as_json)
        return
    if variants is not None:
        explored(studio, studio.begin(prompt, seed, shape, limits, id=id).id, variants, by_score, out, as_json)
        return
    with progress(Left(studio.store, forecast).after) as tell:
        made = studio.paint(prompt, seed, shape, limits, id=id, on_event=tell, pause=pause or ())
    made_known(made, out, as_json)


def edit(
    picture: Picture,
    instruction: Annotated[str, typer.Argument(help="What is to be seen afterwards.", metavar="INSTRUCTION")],
    mask: Annotated[
        Path | None, typer.Option(help="A picture of the same size: only where it is white or clear may change.")
    ] = None,
    seed: Seed = 0,
    budget: Limits = None,
    rounds: Rounds = None,
    seconds: Seconds = None,
    tokens: Tokens = None,
    pixels: Pixels = None,
    painter: Painter = "embedded",
    vlm: VLM = "embedded",
    review: Review = None,
    effort: Effort = None,
    id: Id = None,
    pause: Pause = None,
    once: Annotated[bool, typer.Option("--once", help="One edit, as told: no plan of elements, no critic.")] = False,
    kind: Annotated[str | None, typer.Option(help="Kind of edit (--once); by default the model tells.")] = None,
    visual: Annotated[Path | None, typer.Option(help="What the edit follows: a sketch, depths (--once).")] = None,
    derive: Annotated[str | None, typer.Option(help="Derive that picture from the given one, as in derive.")] = None,
    image: Annotated[list[Path] | None, typer.Option("--image", help="{image1}, {image2} … (--once).")] = None,
    strength: Annotated[float, typer.Option(min=0.01, max=1.0, help="1 paints from pure noise (--once).")] = 1.0,
    steps: Annotated[int | None, typer.Option(min=1, max=200, help="Denoising steps (--once).")] = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Work on a picture, scaled to fit the painter's size, until what the instruction says is seen in it."""
    from brushloop.agent.expect import Left
    from brushloop.agent.names import budget_from, kind_from, png_to
    from brushloop.pictures import open_picture

    png_to(out)
    limits = budget_from(budget, rounds=rounds, seconds=seconds, tokens=tokens, pixels=pixels)
    given, area = open_picture(picture), open_picture(mask) if mask else None
    sort = kind_from(kind)
    if not once and any(each is not None for each in (sort, visual, derive, image, steps)):
        raise InputError("--kind, --visual, --derive, --image and --steps are for one edit as told: add --once")
    studio = studio_for(painter, vlm, review=review, effort=effort)
    if once:
        from brushloop.agent.once import Wish, followed

        seen = followed(given, open_picture(visual) if visual else None, derive)
        more = tuple(open_picture(path) for path in image or ())
        wish = Wish(given, area, more, sort, seen, strength=strength, steps=steps)
        made_known(made_once(studio, instruction, wish, seed, id), out, as_json)
        return
    with progress(Left(studio.store).after) as tell:
        made = studio.edit(given, instruction, area, seed, limits, id=id, on_event=tell, pause=pause or ())
    made_known(made, out, as_json)


def resume(
    name: Name = None,
    painter: AnyPainter = None,
    vlm: AnyVLM = None,
    review: Review = None,
    effort: Effort = None,
    edit: Edit = None,
    mask: Mask = None,
    approve: Annotated[bool, typer.Option("--approve", help="Your word: go on as it is. It is recorded.")] = False,
    pause: Pause = None,
    out: Out = None,
    last: Last = False,
    as_json: Json = False,
) -> None:
    """Go on with one that was stopped, killed, or waits."""
    from brushloop.agent.expect import Left
    from brushloop.agent.names import creation_of, edit_from, mask_from, png_to

    png_to(out)
    word, area = edit_from(edit), mask_from(mask, edit)
    if approve and word is not None:
        raise InputError("--approve and --edit were both given: leave one out")
    old = creation_of(studio_for().store, name, last)
    studio = studio_for(painter, vlm, old, review, effort)
    with progress(Left(studio.store).after) as tell:
        if word is None and not approve:
            made = studio.resume(old.id, on_event=tell, pause=pause or ())
        else:
            made = studio.answer(old.id, word, area, on_event=tell, pause=pause or ())
    made_known(made, out, as_json)


def fork(
    name: Name = None,
    at: Annotated[str | None, typer.Option(help="The step to begin at: its number in steps, or its hash.")] = None,
    prompt: Annotated[str | None, typer.Option(help="Another prompt.")] = None,
    seed: NextSeed = None,
    budget: Limits = None,
    rounds: Rounds = None,
    seconds: Seconds = None,
    tokens: Tokens = None,
    pixels: Pixels = None,
    painter: AnyPainter = None,
    vlm: AnyVLM = None,
    review: Review = None,
    effort: Effort = None,
    edit: Edit = None,
    mask: Mask = None,
    id: Id = None,
    pause: Pause = None,
    out: Out = None,
    last: Last = False,
    as_json: Json = False,
) -> None:
    """Begin another creation at any step of one."""
    from brushloop.agent.expect import Left
    from brushloop.agent.names import budget_from, creation_of, edit_from, mask_from, png_to, step_of

    png_to(out)
    word, area = edit_from(edit), mask_from(mask, edit)
    limits = budget_from(budget, rounds=rounds, seconds=seconds, tokens=tokens, pixels=pixels)
    old = creation_of(studio_for().store, name, last)
    digest = old.head if at is None else step_of(old, at)
    studio = studio_for(painter, vlm, old, review, effort)
    with progress(Left(studio.store).after) as tell:
        made = studio.fork(digest, prompt, seed, word, limits, mask=area, id=id, on_event=tell, pause=pause or ())
    made_known(made, out, as_json)
