"""The command `brushloop`: progress on stderr, the result on stdout, exit codes as drawn in `brushloop.errors`.

Nothing heavy is loaded before a command needs it.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brushloop.agent import looking
from brushloop.agent.console import failure, progress, result
from brushloop.agent.looking import Json, Last, Name
from brushloop.errors import BrushloopError, InputError, Interrupted

if TYPE_CHECKING:
    from brushloop.agent.studio import Studio
    from brushloop.creation import Creation

EPILOG = (
    "Exit codes: 0 done, 1 not foreseen, 2 cannot be done as asked, 3 a model fails, 4 the record cannot be read or "
    "written, 130 interrupted (what was made is kept). Creations live in BRUSHLOOP_HOME."
)
UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""Of the click that typer uses, be it the one it bundles or the installed one."""

Out = Annotated[Path | None, typer.Option("--out", help="Also write the picture to this PNG, with its recipe.")]
Painter = Annotated[str | None, typer.Option(help="Painter: embedded, or flux:<folder>.")]
VLM = Annotated[str | None, typer.Option("--vlm", help="Vision-language model: embedded, or hf:<folder>.")]
Pause = Annotated[
    list[str] | None, typer.Option("--pause", help="Wait for a person, for example before:refine. May be repeated.")
]
Limits = Annotated[str | None, typer.Option("--budget", help="Limits, for example rounds=4,seconds=60.")]
Rounds = Annotated[int | None, typer.Option(help="Limit: pictures painted.")]
Seconds = Annotated[float | None, typer.Option(help="Limit: seconds.")]
Tokens = Annotated[int | None, typer.Option(help="Limit: tokens of the vision-language model.")]
Pixels = Annotated[int | None, typer.Option(help="Limit: pixels painted.")]

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, epilog=EPILOG)


@app.callback(invoke_without_command=True)
def _top(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    """An image is made the way a painter makes it: plan, draft, reflect, refine, round after round."""
    if version:
        import brushloop

        print(brushloop.__version__)
    elif context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def paint(
    prompt: Annotated[str, typer.Argument(help="What is wanted, in words.", metavar="PROMPT")],
    seed: Annotated[int, typer.Option(help="The same prompt and seed give the same steps.")] = 0,
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT in pixels; by default the painter's own.")] = None,
    budget: Limits = None,
    rounds: Rounds = None,
    seconds: Seconds = None,
    tokens: Tokens = None,
    pixels: Pixels = None,
    painter: Painter = None,
    vlm: VLM = None,
    id: Annotated[str | None, typer.Option(help="Name of the creation; by default date and time.")] = None,
    pause: Pause = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Plan and paint a picture, round by round."""
    from brushloop.agent.names import budget_from, png_to, size_from

    png_to(out)
    shape, limits = size_from(size), budget_from(budget, rounds=rounds, seconds=seconds, tokens=tokens, pixels=pixels)
    studio = _studio(painter, vlm)
    with progress() as tell:
        made = studio.paint(prompt, seed, shape, limits, id=id, on_event=tell, pause=pause or ())
    _made(made, out, as_json)


@app.command()
def resume(
    name: Name = None,
    painter: Painter = None,
    vlm: VLM = None,
    pause: Pause = None,
    out: Out = None,
    last: Last = False,
    as_json: Json = False,
) -> None:
    """Go on with a creation that was stopped, killed, or waits."""
    from brushloop.agent.names import creation_of, png_to

    png_to(out)
    old = creation_of(_studio().store, name, last)
    studio = _studio(painter, vlm, old)
    with progress() as tell:
        made = studio.resume(old.id, on_event=tell, pause=pause or ())
    _made(made, out, as_json)


@app.command()
def fork(
    name: Name = None,
    at: Annotated[str | None, typer.Option(help="The step to begin at: its number in steps, or its hash.")] = None,
    prompt: Annotated[str | None, typer.Option(help="Another prompt.")] = None,
    seed: Annotated[int | None, typer.Option(help="Another seed; the next one if nothing else changes.")] = None,
    budget: Limits = None,
    rounds: Rounds = None,
    seconds: Seconds = None,
    tokens: Tokens = None,
    pixels: Pixels = None,
    painter: Painter = None,
    vlm: VLM = None,
    id: Annotated[str | None, typer.Option(help="Name of the new creation.")] = None,
    pause: Pause = None,
    out: Out = None,
    last: Last = False,
    as_json: Json = False,
) -> None:
    """Begin another creation at any step of one; the first stays as it is."""
    from brushloop.agent.names import budget_from, creation_of, png_to, step_of

    png_to(out)
    limits = budget_from(budget, rounds=rounds, seconds=seconds, tokens=tokens, pixels=pixels)
    old = creation_of(_studio().store, name, last)
    digest = old.head if at is None else step_of(old, at)
    studio = _studio(painter, vlm, old)
    with progress() as tell:
        made = studio.fork(digest, prompt, seed, budget=limits, id=id, on_event=tell, pause=pause or ())
    _made(made, out, as_json)


for _name in ("show", "steps", "replay", "verify", "export", "models"):
    app.command(_name)(getattr(looking, _name))
app.command("list")(looking.list_)


def _studio(painter: str | None = None, vlm: str | None = None, old: Creation | None = None) -> Studio:
    """A studio with the makers named, else those that an old creation was begun with."""
    from brushloop.agent.names import makers_of
    from brushloop.agent.studio import Studio

    usual = makers_of(old) if old else ("embedded", "embedded")
    return Studio(painter or usual[0], vlm or usual[1])


def _made(creation: Creation, out: Path | None, as_json: bool) -> None:
    """Export if asked to, and print what was made."""
    value: dict[str, Any] = creation.summary()
    if out and creation.frame:
        value["file"] = str(creation.export(out))
    why = creation.stop_reason or f"waits, go on with: brushloop resume {creation.id}"
    lines = [str(value.get("file") or value["image"] or "no picture yet"), f"{creation.id}  {why}"]
    result(value, lines, as_json)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code. Whatever goes wrong is told in one line."""
    words = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in words
    _be_quiet()
    try:
        with _sigterm_as_ctrl_c(), typer.main.get_command(app).make_context("brushloop", words) as context:
            context.command.invoke(context)
    except typer.Exit as exit:
        return exit.exit_code
    except UsageError as error:
        failure(_in_one_line(error), as_json, "usage")
        return InputError.exit_code
    except BrushloopError as error:
        failure(error, as_json)
        return error.exit_code
    except KeyboardInterrupt:
        failure(Interrupted("stopped; what was made is kept: brushloop resume --last"), as_json)
        return Interrupted.exit_code
    except BrokenPipeError:  # whoever read our output has seen enough
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (else the interpreter complains while it exits)
        return 0
    except Exception as error:
        failure(error, as_json)
        return BrushloopError.exit_code
    return 0


def _in_one_line(error: Any) -> Exception:
    where = error.ctx.command_path if error.ctx else "brushloop"
    return ValueError(f"{error.format_message().rstrip('.')}: {where} --help tells what is possible")


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """Let SIGTERM end a run as Ctrl-C does: between two denoising steps, with everything kept."""

    def stop(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not in the main thread: then signals are somebody else's affair
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _be_quiet() -> None:
    """Keep the libraries' own notices and bars out of our output, and let nothing fail for an odd character."""
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")
    if os.environ.get("BRUSHLOOP_DEBUG", "0") in ("", "0"):
        for name in ("TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY"):
            os.environ.setdefault(name, "error")
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        warnings.simplefilter("ignore")


if __name__ == "__main__":
    sys.exit(main())
