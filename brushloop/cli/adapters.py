"""The commands `adapters ...`: list, import and export adapters of the painter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brushloop.cli.console import result
from brushloop.cli.options import Json
from brushloop.errors import InputError, WeightsError

if TYPE_CHECKING:
    from brushloop.painter.domains import Domain

app = typer.Typer(help="Adapters of the painter: list, import and export them.", no_args_is_help=True)


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the 21 domains, and which of them the installed adapter knows."""
    from brushloop.painter.adapters.files import trained
    from brushloop.painter.domains import domains

    known = trained()
    rows = []
    for each in domains():
        there = each.name in known
        rows.append({**each.model_dump(mode="json"), "trained": there, "needs": None if there else _needs(each)})
    lines = [f"{row['index']:>2} {row['name']:<23} {row['layout']} {row['needs'] or 'installed'}" for row in rows]
    result({"domains": rows}, lines, as_json)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A LoRA in the layout of kohya, diffusers or peft.", metavar="FILE")],
    out: Annotated[Path, typer.Argument(help="Where to write it.", metavar="OUT.safetensors")],
    domains: Annotated[
        str, typer.Option(help="Its domains in order, with commas; by default the order of the public weights.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Read an adapter, such as the public MakeAnything weights, and write it in our layout."""
    from brushloop.painter.adapters import files

    made = files.read(file, [name.strip() for name in domains.split(",") if name.strip()])
    path = files.write(made, out)
    value = {"file": str(path), "domains": list(made.domains), "rank": made.rank, "layers": len(made.up)}
    result(value, [str(path), f"{len(made.domains)} domains, rank {made.rank}, {len(made.up)} layers"], as_json)


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="Where to write it.", metavar="OUT.safetensors")],
    domain: Annotated[str, typer.Option(help="A domain, or a mixture such as icon=0.7,sketch=0.3.")],
    adapter: Annotated[Path | None, typer.Option(help="Adapter of the domains; by default the installed one.")] = None,
    as_json: Json = False,
) -> None:
    """Write one domain, or a mixture, as an ordinary LoRA file that diffusers and ComfyUI load."""
    from brushloop.painter.adapters import files

    made = files.read(adapter) if adapter else files.installed("process")
    if made is None:
        raise WeightsError("no trained adapter is installed: train one, or name one with --adapter")
    omega: Any = domain
    if "=" in domain:
        try:
            omega = {name.strip(): float(share) for name, share in (part.split("=") for part in domain.split(","))}
        except ValueError:
            raise InputError(f"cannot read the mixture {domain!r}: write it as icon=0.7,sketch=0.3") from None
    path = files.export(made, omega, file)
    result({"file": str(path), "domain": domain, "rank": made.rank}, [str(path)], as_json)


def _needs(domain: Domain) -> str:
    return "not trained yet: python -m brushloop.train process" if domain.drawn else f"needs {domain.needs}"
