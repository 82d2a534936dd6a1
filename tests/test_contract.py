"""The house rules: which floor may import which, what stays light, and what never gets into the repository."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

import brushloop
import brushloop.errors

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "brushloop"
MODULES = sorted(PACKAGE.rglob("*.py"))
HEAVY = ("torch", "transformers", "diffusers", "langgraph", "numpy", "PIL")


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tracked_texts() -> list[Path]:
    """Text files that are, or would be, committed."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
            cwd=ROOT,
            capture_output=True,
            check=True,
            text=True,
        ).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    suffixes = {".py", ".md", ".toml", ".txt", ".json", ".jsonl", ".yaml", ".yml", ".html", ".cfg", ".ipynb", ""}
    return [ROOT / name for name in listed if name and (ROOT / name).is_file() and Path(name).suffix in suffixes]


def test_imports_keep_to_their_floors(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("logging.config.dictConfig", lambda config: None)  # it would silence every other logger
    status = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    assert status == EXIT_STATUS_SUCCESS, capsys.readouterr().out


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_every_file_says_what_it_is(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if path.name == "__init__.py" and path.parent != PACKAGE:
        assert not tree.body, f"{relative(path)} must stay empty: a re-exporting folder makes a circle of imports"
    else:
        assert ast.get_docstring(tree), f"{relative(path)} must open with a docstring"


def modules_after(code: str) -> tuple[set[str], float]:
    """Names of the modules that `code` loads in a fresh interpreter, and how many seconds of CPU it takes."""
    script = (
        "import json, sys, time\n"
        "began = time.process_time()\n"
        f"{code}\n"
        "spent = time.process_time() - began\n"
        "print('\\n' + json.dumps([sorted(sys.modules), spent]))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    names, spent = json.loads(done.stdout.splitlines()[-1])
    return set(names), spent


def test_import_is_light_and_quick() -> None:
    runs = [modules_after("import brushloop") for _ in range(3)]
    loaded = runs[0][0].intersection(HEAVY)
    assert not loaded, f"import brushloop loads {sorted(loaded)}"
    seconds = min(spent for _, spent in runs)
    assert seconds <= 0.3, f"import brushloop takes {seconds:.2f} s of CPU, more than 0.3"


def test_help_needs_no_model_library() -> None:
    code = (
        "import contextlib, io\n"
        "sys.argv = ['brushloop', '--help']\n"
        "from brushloop.cli.main import main\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        "    main()"
    )
    loaded = modules_after(code)[0].intersection(("torch", "transformers", "diffusers"))
    assert not loaded, f"brushloop --help loads {sorted(loaded)}"


def test_versions_agree() -> None:
    """The version in the metadata is the package's, and the one the changelog speaks of."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert brushloop.__version__ == version
    assert f"[{version}]" in (ROOT / "CHANGELOG.md").read_text()


def test_only_floors_in_the_metadata() -> None:
    """Exact pins belong in the constraints file: in the metadata they make extras unresolvable."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    for line in asked:
        assert "==" not in line.split(";")[0], line
        assert ">=" in line or line.startswith("brushloop["), line


def test_no_machine_path_in_the_repository() -> None:
    """A path of the machine something was made on helps nobody and breaks on the next one."""
    somewhere = re.compile(r"(?<![\w.<{$/-])(/(?:home|root|Users|work|opt|mnt|scratch)/[\w.-]+|[A-Z]:\\\\?Users\\)")
    found = [
        f"{relative(path)}:{number}: {match.group(1)}"
        for path in tracked_texts()
        if path != Path(__file__)
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        for match in somewhere.finditer(line)
    ]
    assert not found, "\n".join(found)


def test_no_index_is_named_in_the_constraints() -> None:
    """Where packages come from is the affair of whoever installs them."""
    for name in ("constraints-cpu.txt", "requirements.lock", "pyproject.toml", "Makefile"):
        text = (ROOT / name).read_text()
        assert not re.search(r"--(extra-)?index-url|--find-links|file://|\b@ https?://", text), name


def test_no_secret_looking_file_is_tracked() -> None:
    names = [relative(path) for path in tracked_texts()]
    assert not [name for name in names if Path(name).name in {".env", ".netrc", "id_rsa", ".pypirc"}]


def test_readme_tree_is_the_tree() -> None:
    """Every file in the README's tree is there, and every module and folder of the package is in it."""
    text = (ROOT / "README.md").read_text()
    _, _, tree = text.partition("in reading order\n```\nbrushloop/\n")
    lines = tree.partition("\n```")[0].splitlines()
    inner = {line.split()[0].rstrip("/") for line in lines if line.startswith("  ")}
    outer = {line.split()[0].rstrip("/") for line in lines if not line.startswith(" ")}
    here = {path.name for path in PACKAGE.iterdir() if path.name not in {"__pycache__", "__init__.py", "py.typed"}}
    assert inner == here
    assert all((ROOT / name).exists() for name in outer)


def test_readme_links_lead_somewhere() -> None:
    for page in ("README.md", "CONTRIBUTING.md", "SECURITY.md"):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / page).read_text()):
            assert (ROOT / target).exists(), f"{page} links to {target}"


def test_readme_tells_the_exit_codes_of_the_code() -> None:
    codes = {value.exit_code for value in vars(brushloop.errors).values() if isinstance(value, type)}
    table = (ROOT / "README.md").read_text().partition("## Exit codes")[2].partition("\n## ")[0]
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)} == codes | {0}
