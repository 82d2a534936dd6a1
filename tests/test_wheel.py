"""The wheel: what is in it, how large it is, and that it paints where only the wheel is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MIB = 1024 * 1024


def run(*command: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    """Run, and show what was said if it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=240, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this checkout without a network."""
    out = tmp_path_factory.mktemp("wheel")
    quietly = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index")
    run(sys.executable, "-m", "pip", "wheel", *quietly, "--wheel-dir", out, ROOT)
    (built,) = out.glob("brushloop-*.whl")
    return built


@pytest.fixture(scope="module")
def contents(wheel: Path) -> dict[str, int]:
    """Names in the wheel, and their sizes in bytes."""
    with zipfile.ZipFile(wheel) as archive:
        return {entry.filename: entry.file_size for entry in archive.infolist() if not entry.is_dir()}


def mebibytes(contents: dict[str, int], folder: str) -> float:
    return sum(size for name, size in contents.items() if name.startswith(folder)) / MIB


def test_wheel_holds_the_whole_package_and_nothing_else(contents: dict[str, int]) -> None:
    here = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "brushloop").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    inside = {name for name in contents if ".dist-info/" not in name}
    assert not here - inside, "in the checkout and not in the wheel"
    assert not inside - here, "in the wheel and not in the checkout"


def test_wheel_holds_art_and_licences(contents: dict[str, int]) -> None:
    for style in ("flat", "soft", "ink", "retro"):
        assert f"brushloop/supervision/world/art/{style}.json.gz" in contents
    for name in ("LICENSE", "NOTICE"):
        assert any(inside.endswith(f".dist-info/licenses/{name}") for inside in contents), name


def test_wheel_holds_nothing_that_would_be_unpickled(contents: dict[str, int]) -> None:
    assert not [name for name in contents if Path(name).suffix in {".pt", ".pth", ".ckpt", ".bin", ".pkl", ".npy"}]


@pytest.mark.models
def test_weights_are_in_the_wheel_and_small(contents: dict[str, int]) -> None:
    shipped = ("painter/model_index.json", "vlm/config.json", "vlm/model.safetensors")
    for name in (*shipped, "adapters/recraft.safetensors", *(f"large/{each}" for each in shipped)):
        assert f"brushloop/models/{name}" in contents
    assert "brushloop/supervision/judge-large.safetensors" in contents
    assert mebibytes(contents, "brushloop/models/painter/") <= 40
    assert mebibytes(contents, "brushloop/models/vlm/") <= 64
    assert mebibytes(contents, "brushloop/models/adapters/") <= 16
    assert mebibytes(contents, "brushloop/models/") <= 150


@pytest.mark.models
def test_installed_wheel_paints(wheel: Path, tmp_path: Path, home: Path) -> None:
    """A fresh environment that holds brushloop from the wheel and its dependencies, and cannot see this checkout."""
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip()
    # A path named in a .pth file joins sys.path, but its own .pth files (the editable install) are not read.
    dependencies = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    Path(site, "dependencies.pth").write_text("".join(f"{path}\n" for path in sorted(dependencies)))

    clean = tmp_path / "clean"
    clean.mkdir()
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    where = run(python, "-c", "import brushloop; print(brushloop.__file__)", cwd=clean, env=env).stdout.strip()
    assert Path(where).is_relative_to(site), f"brushloop came from {where}, not from the wheel"

    brushloop = tmp_path / "env" / "bin" / "brushloop"
    painted = run(brushloop, "paint", "a red apple", "--seed", "1", "--rounds", "1", "--json", cwd=clean, env=env)
    creation = json.loads(painted.stdout)
    assert {"id", "head", "image", "stop_reason", "steps"} <= creation.keys()
    assert {"plan", "draft", "finish"} <= {step["kind"] for step in creation["steps"]}
    assert Path(creation["image"]).read_bytes().startswith(b"\x89PNG")
    assert home in Path(creation["image"]).parents
    run(brushloop, "verify", creation["id"], cwd=clean, env=env)
    assert not list(clean.iterdir()), "painting left something in the working folder"
