"""`make bench`: measure everything, and write docs/bench.md with the machine and the date.

    python -m benchmarks [--number 200] [--only scenes ...]

Each part writes its figures to `runs/bench/NAME.json`; a part named by `--only` is measured again, the
others are taken from there if they are there. On a shared machine only ratios within one run mean much.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

OUT = Path("runs/bench")
PAGE = Path("docs/bench.md")
PROMPT = "a red mushroom, a cat and a rocket on a beach"

Figures = dict[str, Any]


def python(*arguments: str, home: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run this Python in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2")}
    if home:
        environment["BRUSHLOOP_HOME"] = home
    return subprocess.run([sys.executable, *arguments], check=True, capture_output=True, text=True, env=environment)


def start() -> Figures:
    """Seconds to `import brushloop`, best of five, and whether torch came with it."""
    clock = "import sys, time; start = time.perf_counter(); import brushloop; "
    code = clock + "print(time.perf_counter() - start, 'torch' in sys.modules)"
    runs = [python("-c", code).stdout.split() for _ in range(5)]
    return {"seconds": min(float(run[0]) for run in runs), "torch": any(run[1] == "True" for run in runs)}


def demo() -> Figures:
    """Wall seconds and peak memory of `make demo`'s command in a fresh process and an empty home."""
    with tempfile.TemporaryDirectory() as home:
        began = time.perf_counter()
        told = json.loads(python("-m", "brushloop", "paint", PROMPT, "--seed", "7", "--json", home=home).stdout)
        seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    return {"seconds": seconds, "peak_gib": peak, "steps": len(told["steps"]), "stop_reason": told["stop_reason"]}


def loop() -> Figures:
    """Milliseconds a step around models that take no time."""
    from benchmarks import overhead

    return overhead.measure()._asdict()


def sizes() -> Figures:
    """MiB of the folders that ship."""
    from brushloop.supervision.judge import WEIGHTS
    from brushloop.weights import SHIPPED, sets

    def mib(*paths: Path) -> float:
        files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()]
        return sum(file.stat().st_size for file in files) / 2**20

    judges = sorted(WEIGHTS.parent.glob("*.safetensors"))
    each = {"painter": mib(SHIPPED / "painter"), "vlm": mib(SHIPPED / "vlm"), "judge": mib(WEIGHTS)}
    return each | {name: mib(SHIPPED / name) for name in sets()} | {"all": mib(SHIPPED, *judges)}


def judge() -> Figures:
    """The judge on renders it never saw."""
    from brushloop.supervision.judge import WEIGHTS
    from brushloop.train.judge import object_f1

    return object_f1(WEIGHTS, 500)


def critic(number: int = 200) -> Figures:
    """The critic on three rendered held-out states for each prompt of the scene benchmark."""
    from benchmarks.critic import rendered
    from brushloop.critic.critic import Critic
    from brushloop.vlm import open_vlm

    return rendered(Critic(open_vlm("embedded")), 3 * number)


def scenes(number: int = 200) -> Figures:
    """One-shot against loop."""
    return _compared(OUT / "scenes.jsonl", number)


def groups(number: int = 200) -> Figures:
    """The same for groups of things, three prompts where the scene benchmark has ten."""
    out = OUT / "groups" / "scenes.jsonl"
    return _compared(out, 3 * number // 10, "--category", "groups")


def _compared(out: Path, number: int, *options: str) -> Figures:
    """One-shot against loop, in as many processes as there are cores; rows are kept in `out`."""
    workers = os.cpu_count() or 1
    from brushloop.supervision.held_out import table

    command = [sys.executable, "-m", "benchmarks.scenes", "--number", str(number), "--out", str(out), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    running = [subprocess.Popen([*command, "--part", f"{i}/{workers}"], env=environment) for i in range(workers)]
    if any(process.wait() for process in running):
        raise SystemExit("the scene benchmark failed: see above")
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    seconds = sorted(row["seconds"] for row in rows)
    return {
        "table": table(rows),
        "number": len(rows),
        "right": sum(row["loop"]["correct"] for row in rows) / len(rows),
        "one_shot": sum(row["one_shot"]["correct"] for row in rows) / len(rows),
        "rounds": sum(row["rounds"] for row in rows) / len(rows),
        "seconds": seconds[len(seconds) // 2],
        "stops": Counter(row["stop_reason"] for row in rows),
        "background": sum(row["loop"]["background"] for row in rows) / len(rows),
        "worse": sum(row["one_shot"]["correct"] > row["loop"]["correct"] for row in rows),
    }


def painted(number: int = 200) -> Figures:
    """The critic on states of the scene benchmark, as the judge sees them."""
    from benchmarks.critic import painted as states
    from brushloop.critic.critic import Critic
    from brushloop.store import Store
    from brushloop.supervision.judge import Judge
    from brushloop.vlm import open_vlm

    return states(Critic(open_vlm("embedded")), Store(OUT / "scenes.store"), Judge(), 3 * number)


def calibration(number: int = 200) -> Figures:
    """How far the critic's scores can be believed, on rendered held-out states."""
    from benchmarks.calibration import measure
    from brushloop.critic.critic import Critic
    from brushloop.vlm import open_vlm

    return measure(Critic(open_vlm("embedded")), 2 * number)


def effort(number: int = 200) -> Figures:
    """Easy and hard prompts at each effort."""
    from benchmarks.effort import measure

    return measure(max(6, number // 8))


def steps(number: int = 200) -> Figures:
    """The loop with fewer and fewer denoising steps."""
    from benchmarks.steps import measure

    return measure(number)


def disk() -> Figures:
    """Bytes of finished creations, against those of their pictures."""
    from benchmarks.limits import measure_disk

    return measure_disk()


def rounds() -> Figures:
    """A round of the loop, against two full passes."""
    from benchmarks.limits import measure_rounds

    return measure_rounds()


def jobs() -> Figures:
    """Creations at once, against the busier engine alone."""
    from benchmarks.limits import measure_jobs

    return measure_jobs()


def kinds(number: int = 200) -> Figures:
    """Kinds of edit, in phrasings that training never said."""
    from benchmarks.kinds import measure
    from brushloop.vlm import open_vlm

    return measure(open_vlm("embedded"), max(2, number // 10))


PARTS: dict[str, Callable[..., Figures]] = {
    "start": start, "loop": loop, "demo": demo, "sizes": sizes, "judge": judge, "critic": critic, "scenes": scenes,
    "groups": groups, "painted": painted, "calibration": calibration, "effort": effort, "disk": disk,
    "rounds": rounds, "jobs": jobs, "kinds": kinds, "steps": steps,
}  # fmt: skip


SAMPLED = ("critic", "scenes", "groups", "painted", "calibration", "effort", "kinds", "steps")
"""Parts whose size `--number` sets."""


def page(figures: dict[str, Figures], when: str) -> str:
    """The Markdown of docs/bench.md."""
    from benchmarks.calibration import table as reliability
    from benchmarks.effort import share
    from benchmarks.effort import table as spent
    from benchmarks.limits import table as limits
    from benchmarks.steps import table as few

    def faults(of: Figures) -> str:
        told = " | ".join(f"{of[name]:.3f}" for name in (*said, "not yet called wrong"))
        return f"({of['elements']:.0f} elements) | {told}"

    said = "wrong precision", "wrong recall", "missing precision", "missing recall", "fault precision", "fault recall"
    begin, around, paint, size = figures["start"], figures["loop"], figures["demo"], figures["sizes"]
    cost = f"{around['cpu'] - around['pictures']:.2f} ms; with pixels {around['cpu']:.2f}, wall {around['wall']:.2f}"
    torch = "with" if begin["torch"] else "no"
    seen, told, kinds = figures["judge"], figures["scenes"], figures["kinds"]
    weak = ", ".join(f"{name} {right:.2f}" for name, right in kinds["kinds"].items() if right < 0.95)
    sure, work, steps = figures["calibration"], share(figures["effort"]), share(figures["effort"], "steps")
    stops = ", ".join(f"{reason} {count}" for reason, count in sorted(told["stops"].items()))
    crowd = figures["groups"]
    return f"""# Figures

Measured {when} on {platform.machine()}, {os.cpu_count()} cores, {platform.python_implementation()}
{platform.python_version()}, by `make bench` (parts: `python -m benchmarks --only NAME`). Seconds are from a shared
machine; only ratios within one run mean much.

## Cost
| figure | bar | measured | part |
|---|---|---|---|
| `import brushloop` | 0.3 s, no torch | {begin["seconds"]:.3f} s, {torch} torch | `start` |
| store, checkpoints and graph around instant models, of the processor | 2 ms a step | {cost} | `loop` |
| the demo, cold process | 60 s | {paint["seconds"]:.1f} s ({paint["steps"]} steps, {paint["stop_reason"]}) | `demo` |
| its peak memory | 3 GiB | {paint["peak_gib"]:.2f} GiB | `demo` |
| painter folder | 40 MiB | {size["painter"]:.1f} MiB | `sizes` |
| vision-language folder | 64 MiB | {size["vlm"]:.1f} MiB | `sizes` |
| judge | | {size["judge"]:.1f} MiB | `sizes` |
| all that ships, with `embedded:large` | 150 MiB | {size["all"]:.1f} MiB | `sizes` |
{limits(figures)}

## The judge
On renders that it never saw (its own division of the world): object F1 **{seen["f1"]:.3f}** (precision
{seen["precision"]:.3f}, recall {seen["recall"]:.3f}; a hit has the right name and overlaps by half), colour
{seen["color"]:.3f}, background {seen["background"]:.3f}. Bar: F1 0.95. (`judge`)

## One-shot against loop
{told["number"]} held-out prompts, same seeds, judged by the judge: everything the prompt names of its objects (kind,
number, colour, relation) must be right. One-shot is the painter alone on the raw prompt. Intervals are 95% (Wilson;
paired bootstrap for the gain). Bar: +6 points overall, no category lost. (`scenes`)

{told["table"]}

Pictures painted per creation {told["rounds"]:.1f}; median {told["seconds"]:.1f} s of one core; stops: {stops}; the loop
lost what one-shot had right in {told["worse"]} of {told["number"]}; background right after the loop
{told["background"]:.2f}.

Two or three things of which some come several times, seven in all at most ("four crabs at night and a red cactus"):
of {crowd["number"]} such prompts **{crowd["right"]:.2f}** come out right in the loop, {crowd["one_shot"]:.2f}
in one shot, with {crowd["rounds"]:.1f} pictures painted for each. (`groups`)

## The critic
"Wrong" and "missing" element by element; "fault" is either of the two. Bars: 0.95 on rendered states, 0.85 on painted
ones, at most 0.03 of "not yet" called wrong. (`critic`, `painted`)

| states | {" | ".join(said)} | not yet called wrong |
|---|{"---|" * 7}
| rendered, held out {faults(figures["critic"])} |
| painted {faults(figures["painted"])} |
| painted, where the judge is sure {faults(figures["painted"]["sure"])} |

Painted states are the drafts and refinements of the scene benchmark, labelled by the judge, each as far as it was
painted and one plan step ahead: there something is really missing, which the painter hardly ever leaves out. Every
second one is held against a plan that asks for one thing otherwise, or hardly anything would be wrong. What is painted
may be half a star, and the judge errs there too: it is called sure where its names have a probability of 0.9 or more.

How far its scores can be believed, on {sure["number"]} elements of rendered held-out states: expected calibration
error **{sure["error"]:.3f}**, Brier score {sure["brier"]:.3f}. The judge, asked for a second opinion, disagrees with
the critic on {sure["disputed"]:.3f} of them, and is right in {sure["second right"]:.2f} of those. (`calibration`)

{reliability(sure)}

## Kinds of edit
Which of the 26 kinds is asked for, or none, in {kinds["number"]} wishes whose phrasings training never said:
**{kinds["accuracy"]:.3f}** right (bar 0.95); sure of {kinds["sure"]:.2f}, and right in
{kinds["right if sure"]:.3f} of those. Below the bar: {weak or "none"}. (`kinds`)

## Effort
Held-out prompts, as many easy ones (one object) as hard ones (two with a number, a place or two colours). Effort is the
arithmetic of painter, planner and critic for a creation, retries and all. Bar: easy prompts take at most 0.40 of that
of hard ones, at no loss of score; measured at normal effort: **{work:.2f}** ({steps:.2f} of the denoising steps).
(`effort`)

{spent(figures["effort"])}

## Denoising steps
The same held-out prompts, with so many denoising steps for every draft and every refinement. Bar: at most 8 steps, at
two points or less below many. The painter learned rectified flow (Liu et al. 2022; Lipman et al. 2023), whose nearly
straight paths Euler's method follows in few steps; it was not distilled. Normal effort drafts in 8 steps, one thing
alone in 3. (`steps`)

{few(figures["steps"])}
"""


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--number", type=int, default=200, help="prompts of the scene benchmark")
    parser.add_argument("--only", nargs="*", choices=PARTS, help="parts to measure again")
    given = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Figures] = {}
    for name, measure in PARTS.items():
        kept = OUT / f"{name}.json"
        if given.only is not None and name not in given.only and kept.exists():
            figures[name] = json.loads(kept.read_text())
            continue
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        figures[name] = measure(given.number) if name in SAMPLED else measure()
        kept.write_text(json.dumps(figures[name], indent=1))
    PAGE.write_text(page(figures, datetime.date.today().isoformat()))
    print(PAGE.read_text())


if __name__ == "__main__":
    main()
