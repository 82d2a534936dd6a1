"""A creation as a file to take away."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from brushloop.agent.page import write_page
from brushloop.creation import Creation

FORMS = {
    "png": ("image/png", "png"),
    "html": ("text/html", "html"),
    "json": ("application/json", "json"),
}
"""Media type and file ending of each form."""


def exported(creation: Creation, form: str) -> tuple[bytes, str, str]:
    """The file's bytes, its media type and a name for it.

    Raises:
        InputError: there is no picture yet.
    """
    kind, ending = FORMS[form]
    name = f"{creation.id}.{ending}"
    if form == "json":
        steps = zip(creation.hashes, creation.steps, strict=True)
        rows = [{"hash": digest, **step.model_dump(mode="json")} for digest, step in steps]
        return json.dumps({"id": creation.id, "head": creation.head, "steps": rows}, indent=2).encode(), kind, name
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        if form == "png":
            creation.export(path)
        else:
            write_page(creation, path)
        return path.read_bytes(), kind, name
