"""One offline page that shows how a picture was made: plan, drafts, reflections and refinements, side by side.

Everything is inside the one file: pictures as data URLs (each once), style and a few lines of script. The
content policy in its head lets nothing else in, and whatever a model or a person wrote is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from brushloop.agent import words
from brushloop.agent.chapters import Chapter, chapters, pictures, thing
from brushloop.canvas import Budget, Frame, StepKind, StopReason
from brushloop.creation import Creation
from brushloop.files import write_atomically
from brushloop.record import frames_of, png_from
from brushloop.store import Store

WIDEST = 448
"""Pixels on the screen that a picture takes at most; a small one is shown at twice its size."""

MARKS = {"present": "✓", "missing": "○", "wrong": "✗", "not_yet": "…"}
"""Beside each status, for those who cannot tell its colour."""

ENDINGS = {
    StopReason.ACCEPTED: "the critic found everything as planned",
    StopReason.STALLED: "nothing that was tried made it better",
    StopReason.ROUNDS: "the budget of pictures was spent",
    StopReason.SECONDS: "the budget of seconds was spent",
    StopReason.TOKENS: "the budget of tokens was spent",
    StopReason.PIXELS: "the budget of pixels was spent",
    StopReason.MEMORY: "the budget of memory was spent",
    StopReason.CANCELLED: "a person stopped it; it can be resumed",
}


def write_page(creation: Creation, path: str | os.PathLike[str]) -> Path:
    """Write the page of a creation to a file.

    Raises:
        StoreError: a step or picture is missing or changed, or the file cannot be written.
    """
    target = Path(path)
    write_atomically(str(target), page(creation).encode("utf-8", "replace"))
    return target


def page(creation: Creation) -> str:
    """The page of a creation as HTML."""
    room = Environment(
        loader=PackageLoader("brushloop.agent", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    room.filters |= {"thing": thing, "stroke": words.of_stroke, "percent": _percent}
    told = chapters(creation)
    style, script = (_text(room, name) for name in ("page.css", "page.js"))
    return room.get_template("page.html.j2").render(
        creation=creation,
        brief=creation.brief,
        plan=creation.plan,
        chapters=told,
        strip=pictures(told),
        ending=ENDINGS.get(creation.stop_reason) if creation.stop_reason else None,
        makers=_makers(creation),
        again=_again(creation),
        totals=_totals(told, creation),
        frames=_frames(creation),
        data_url=lambda frame: data_url(creation.store, frame),
        width=_width,
        marks=MARKS,
        style=style,
        script=script,
        policy=policy(script),
    )


def policy(script: str) -> str:
    """The content policy: pictures from data URLs, style inline, this very script, and nothing else."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )


def data_url(store: Store, frame: Frame) -> str:
    """A stored picture as a data URL."""
    return "data:image/png;base64," + base64.b64encode(png_from(store.get_image(frame))).decode()


def _text(room: Environment, name: str) -> Markup:
    """One of our own files, as it is."""
    assert room.loader is not None
    return Markup(room.loader.get_source(room, name)[0].strip())


def _frames(creation: Creation) -> dict[Frame, str]:
    """Every picture of the page and the id it has there."""
    found: Iterable[Frame] = dict.fromkeys(frame for step in creation.steps for frame in frames_of(step))
    return {frame: f"p{number}" for number, frame in enumerate(found)}


def _makers(creation: Creation) -> list[tuple[str, str]]:
    """Which models acted, and as what: `("plan, reflect", "embedded 1a2b3c4d")`."""
    acts: dict[str, list[str]] = {}
    for step in creation.steps:
        if step.model:
            kinds = acts.setdefault(f"{step.model.id} {step.model.weights[:12]}".strip(), [])
            if step.kind.value not in kinds:
                kinds.append(step.kind.value)
    return [(", ".join(kinds), name) for name, kinds in acts.items()]


def _again(creation: Creation) -> str | None:
    """The command that paints the same once more; None where a person had a hand in it, or it is a fork."""
    brief, first = creation.brief, creation.steps[0]
    if any(step.kind is StepKind.HUMAN for step in creation.steps) or brief is not first.brief:
        return None
    words = ["brushloop", "paint", brief.prompt, "--seed", str(brief.seed)]
    if brief.size:
        words += ["--size", f"{brief.size[0]}x{brief.size[1]}"]
    usual = Budget().model_dump()
    if limits := [f"{name}={limit:g}" for name, limit in brief.budget if limit != usual[name]]:
        words += ["--budget", ",".join(limits)]
    for maker in ("painter", "vlm"):
        if (name := str(first.settings.get(maker, "embedded"))) != "embedded":
            words += [f"--{maker}", name]
    return shlex.join(words)


def _totals(told: list[Chapter], creation: Creation) -> dict[str, Any]:
    measured = [creation.store.measurements(digest) for digest in creation.hashes]
    return {
        "pictures": sum(entry.step.kind is not StepKind.HUMAN for entry in pictures(told)),
        "seconds": sum(float(figures.get("seconds", 0)) for figures in measured),
        "tokens": sum(int(figures.get("tokens", 0)) for figures in measured),
    }


def _width(frame: Frame) -> int:
    return min(2 * frame.width, WIDEST)


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share else "0 %"
