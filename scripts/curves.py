"""Copy the training logs under docs/training and draw their curves.

python scripts/curves.py [runs]
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

OUT = Path("docs/training")
OTHER = ("step", "samples", "seconds", "norm", "lr", "psnr", "code", "l1")
LOGS = {
    "autoencoder": "autoencoder",
    "judge": "judge",
    "painter": "painter",
    "vlm-tower": "vlm/tower",
    "vlm-lessons": "vlm/lessons",
}


def main(runs: Path) -> None:
    """One PNG a log: the loss and its parts against samples."""
    OUT.mkdir(parents=True, exist_ok=True)
    for name, folder in LOGS.items():
        log = runs / folder / "log.jsonl"
        if not log.exists():
            continue
        shutil.copy(log, OUT / f"{name}.jsonl")
        rows = [row for line in log.read_text().splitlines() if "loss" in (row := json.loads(line))]
        steps: dict[int, dict[str, float]] = {int(row["step"]): row for row in rows}
        figure, axes = pyplot.subplots(figsize=(7, 3.6), constrained_layout=True)
        shown = [
            key for key in rows[-1] if key not in ("step", "samples", "seconds", "norm", "lr", "psnr", "code", "l1")
        ]
        for key in shown:
            points = [(row["samples"], row[key]) for _, row in sorted(steps.items()) if key in row]
            axes.plot(*zip(*points, strict=True), label=key, linewidth=2 if key == "loss" else 1)
        axes.set(title=name, xlabel="pictures seen", ylabel="loss", yscale="log")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7, ncols=2)
        figure.savefig(OUT / f"{name}.png", dpi=110)
        pyplot.close(figure)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs"))
