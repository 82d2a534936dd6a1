"""How many small changes of the store and of the loop's rules the tests notice; `make mutation`.

    python scripts/mutation.py --sample 400 --least 0.75

mutmut makes the changes (`[tool.mutmut]` in pyproject.toml says of what, and which tests are asked). All of them take
an hour and more, so a random sample is tried, always the same one; `--sample 0` tries all. A change that no test
reaches counts as unnoticed, one that makes a test hang as noticed.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

FOLDER = Path("mutants")
UNNOTICED = {0, 5, 33}
"""Exit codes of a change that all tests pass, or that none reaches."""


def results() -> dict[str, int | None]:
    """Every change that was made, by name, and the exit code of its tests; None if they were not run."""
    found: dict[str, int | None] = {}
    for path in FOLDER.rglob("*.meta"):
        found |= json.loads(path.read_text())["exit_code_by_key"]
    return found


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=400, help="changes to try; 0 for all")
    parser.add_argument("--least", type=float, default=0.75, help="share that must be noticed")
    given = parser.parse_args()
    mutmut = [str(Path(sys.executable).with_name("mutmut")), "run", "--max-children", "2"]
    if given.sample and not results():  # makes all changes, and runs the tests of this one
        subprocess.run([*mutmut, "brushloop.agent.routing.x_route__mutmut_1"], check=False)
    names = sorted(results())
    chosen = random.Random("mutation").sample(names, min(given.sample, len(names))) if given.sample else []
    subprocess.run([*mutmut, *chosen], check=False)
    tried = {name: code for name, code in results().items() if code is not None and (not chosen or name in chosen)}
    missed = sorted(name for name, code in tried.items() if code in UNNOTICED)
    for name, number in sorted(Counter(name.partition("__mutmut_")[0] for name in missed).items()):
        print(f"{number:4} unnoticed in {name}")
    share = 1 - len(missed) / max(1, len(tried))
    print(f"{len(tried)} of {len(names)} changes tried; {share:.3f} noticed (at least {given.least})")
    return 0 if share >= given.least and len(tried) >= len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
