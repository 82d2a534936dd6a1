"""What every test shares: one thread, a home of its own, and no network."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

# Two busy processes on two cores make a two-thread step many times slower, and one thread sums in one order.
# Set before anything imports torch or numpy, and inherited by the processes that tests start.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["NO_COLOR"] = "1"

import pytest

# A job started in the background of a script ignores Ctrl-C, and so would the processes that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]
"""The folder of the repository."""

MODELS = ROOT / "brushloop" / "models"
"""The weights that ship with the package."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder where this test's creations go (`BRUSHLOOP_HOME`)."""
    folder = tmp_path / "home"
    monkeypatch.setenv("BRUSHLOOP_HOME", str(folder))
    return folder


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Keep torch on one thread where a test has loaded it; loading it is left to those that need it."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long forms of tests run only when they are named."""
    if not config.option.markexpr:
        names = ("trust", "vllm", "api", "programs", "page", "scale")
        long = [item for item in items if any(item.get_closest_marker(name) for name in names)]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]
