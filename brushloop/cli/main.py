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
from typing import Annotated, Any

import typer

from brushloop.cli import (
    adapters,
    batch,
    chat,
    choose,
    compose,
    data,
    evaluate,
    export,
    layers,
    paint,
    process,
    second,
    serve,
    show,
    upkeep,
)
from brushloop.cli.console import failure
from brushloop.errors import BrushloopError, InputError, Interrupted

EPILOG = (
    "Exit codes: 0 done, 1 not foreseen, 2 cannot be done as asked, 3 a model fails, 4 the record cannot be read or "
    "written, 130 interrupted (what was made is kept). Creations live in BRUSHLOOP_HOME."
)
UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""Of the click that typer uses, be it the one it bundles or the installed one."""

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, epilog=EPILOG)


@app.callback(invoke_without_command=True)
def top(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    """An image is made the way a painter makes it: plan, draft, reflect, refine, round after round."""
    if version:
        import brushloop

        print(brushloop.__version__)
    elif context.invoked_subcommand is None:
        print(context.get_help())


for _command in (
    paint.paint, paint.edit, paint.resume, paint.fork, choose.choose, chat.chat,
    compose.compose, compose.outpaint, compose.derive, process.process, process.recraft,
    show.show, show.list_, show.steps, show.replay, show.verify, show.models,
    export.export, export.gallery, export.push,
    batch.batch, serve.serve, serve.mcp, serve.serve_vlm,
    evaluate.eval_, second.second, upkeep.gc, upkeep.repair,
):  # fmt: skip
    app.command(_command.__name__.rstrip("_").replace("_", "-"))(_command)
for _group in (layers, adapters, data):
    app.add_typer(_group.app, name=_group.__name__.rpartition(".")[2])


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
        failure(Interrupted("stopped; whatever was made is kept: brushloop list shows it"), as_json)
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
