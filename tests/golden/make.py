"""Write the golden creations of the schema version of this checkout: `python tests/golden/make.py`.

Run it once for each version, before the format changes, and commit the folder; old folders are never
written again. It holds one of everything: a run with refinements, a person's answers, and a fork.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]

from fakes import CAT, SHORT, ToyPainter, ToyVLM, add  # noqa: E402

from brushloop import Studio  # noqa: E402
from brushloop.canvas import SCHEMA_VERSION  # noqa: E402


def main() -> None:
    folder = HERE / f"v{SCHEMA_VERSION}"
    if folder.exists():
        sys.exit(f"{folder} is there already, and is kept as it is")
    studio = Studio(ToyPainter(fails=lambda request: request.seed % 2 == 0), ToyVLM(), folder / "home")
    studio.paint("a cat and a red ball on a beach", seed=5, id="whole")
    studio.fork("whole", seed=6, id="forked")
    studio.paint("a cat and a red ball on a beach", seed=7, id="answered", pause=["after:plan"])
    studio.answer("answered", SHORT, pause=["before:finish"])
    studio.answer("answered", add("cat", CAT))
    del studio._built
    for path in (folder / "home").glob("checkpoints.sqlite*"):
        path.unlink()
    for name in ("notes", "locks"):  # measurements and locks are not content
        shutil.rmtree(folder / "home" / name)
    expected = {}
    for head in studio.store.heads():
        steps = [
            [digest, step.kind.value, hashlib.sha256(image.tobytes()).hexdigest() if image else None]
            for digest, step, image in studio.replay(head.id)
        ]
        expected[head.id] = {"steps": steps, "stop_reason": str(studio.open(head.id).stop_reason)}
    (folder / "expected.json").write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
