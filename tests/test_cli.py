"""The command line: what it prints where, its exit codes, and the contracts that others script against."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from fakes import INK, SHORT, ToyPainter, ToyVLM
from PIL import Image

import brushloop.agent.studio as studio
from brushloop import Creation, Store
from brushloop.cli.console import clean, progress
from brushloop.cli.main import main
from brushloop.creation import read_recipe

PROMPT = "a cat and a red ball on a beach"
COMMANDS = ("paint", "edit", "resume", "fork", "show", "steps", "replay", "verify", "export", "models", "list")
WORLD = ("objects", "colors", "backgrounds", "styles", "relations", "sizes")


class Ran:
    """What one command did."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in this process, with toys in the place of the models."""
    monkeypatch.setattr(studio, "open_painter", lambda name: ToyPainter(fails=lambda request: request.seed % 2 == 0))
    monkeypatch.setattr(studio, "open_vlm", lambda name: ToyVLM())

    def ran(*words: object) -> Ran:
        capsys.readouterr()
        code = main([str(word) for word in words])
        said = capsys.readouterr()
        return Ran(code, said.out, said.err)

    return ran


@pytest.fixture
def painted(run: Run) -> Any:
    """A creation, as `paint --json` tells it."""
    return run("paint", PROMPT, "--seed", 5, "--json").json


def test_paint_prints_the_contract(run: Run) -> None:
    done = run("paint", PROMPT, "--seed", 5, "--json")
    assert done.code == 0
    value = done.json
    assert list(value) == ["id", "head", "image", "stop_reason", "steps"]
    assert value["stop_reason"] == "accepted"
    assert value["steps"][-1]["hash"] == value["head"]
    for step in value["steps"]:
        assert list(step) == ["hash", "kind", "image", "text"]
    assert Image.open(value["image"]).size == (40, 40)
    kinds = [step["kind"] for step in value["steps"]]
    assert kinds[:2] == ["brief", "plan"] and kinds[-1] == "finish"


def test_progress_is_on_stderr_a_line_a_step_and_plain(run: Run) -> None:
    done = run("paint", PROMPT)
    assert re.search(r"^plan     2 steps: paint a beach with a cat; add a red ball$", done.err, re.MULTILINE)
    assert done.err.splitlines()[-1].startswith("finish   accepted")
    assert "\x1b" not in done.err + done.out
    picture, line = done.out.splitlines()
    assert Path(picture).is_file()
    assert re.fullmatch(r"[\w-]+  accepted", line)


def test_on_a_terminal_there_is_a_bar(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    shown = Terminal()
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", shown)
    assert run("paint", PROMPT).code == 0
    assert "\x1b[" in shown.getvalue()
    assert "2 steps: paint a beach" in shown.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    plain = Terminal()
    monkeypatch.setattr(sys, "stderr", plain)
    assert run("paint", PROMPT).code == 0
    assert not re.search(r"\x1b\[[0-9;]*[34]\dm", plain.getvalue()), "NO_COLOR is respected"


def test_a_stderr_that_nobody_reads_does_not_stop_the_painting(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Closed())
    with progress() as tell:
        tell({"type": "step", "hash": "0" * 64, "kind": "plan", "text": "", "image": None})


def test_out_carries_the_recipe_and_the_picture_can_be_shown_and_forked(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "cat.png"
    value = run("paint", PROMPT, "--seed", 5, "--out", target, "--json").json
    assert value["file"] == str(target)
    recipe = read_recipe(target)
    assert (recipe.id, recipe.head, recipe.seed, recipe.brief.prompt) == (value["id"], value["head"], 5, PROMPT)
    shown = run("show", target, "--json").json
    assert shown["id"] == value["id"] and shown["in_store"] and shown["brief"]["seed"] == 5
    forked = run("fork", target, "--seed", 9, "--json").json
    assert forked["id"] != value["id"]
    assert [step["hash"] for step in forked["steps"]][: len(value["steps"])] == [s["hash"] for s in value["steps"]]


def test_a_picture_tells_its_recipe_where_its_creation_is_not(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "cat.png"
    run("paint", PROMPT, "--seed", 5, "--out", target)
    monkeypatch.setenv("BRUSHLOOP_HOME", str(tmp_path / "elsewhere"))
    shown = run("show", target, "--json")
    assert shown.code == 0
    assert shown.json["in_store"] is False and shown.json["brief"]["prompt"] == PROMPT
    assert PROMPT in run("show", target).out
    forked = run("fork", target)
    assert forked.code == 2 and "set BRUSHLOOP_HOME" in forked.err


def test_a_name_may_be_left_out(run: Run, painted: Any) -> None:
    other = run("paint", "a cat", "--json").json
    for words in ((), ("--last",), (other["id"],), (other["head"],), (other["head"][:12],)):
        assert run("show", *words, "--json").json["id"] == other["id"]
    both = run("show", other["id"], "--last")
    assert both.code == 2 and "leave one out" in both.err


def test_show_and_steps_and_list(run: Run, painted: Any) -> None:
    shown = run("show")
    for words in (painted["id"], PROMPT, "seed      5", painted["head"], "ended: accepted", painted["image"]):
        assert words in shown.out
    listed = run("steps", painted["id"])
    assert len(listed.out.splitlines()) == len(painted["steps"])
    rows = run("steps", "--json").json["steps"]
    assert [row["hash"] for row in rows] == [step["hash"] for step in painted["steps"]]
    assert all("seconds" in row["measured"] for row in rows[1:])
    assert rows[1]["plan"]["steps"] and rows[2]["model"]["id"] == "toy-painter"
    (row,) = run("list", "--json").json["creations"]
    assert (row["id"], row["prompt"], row["seed"], row["stop_reason"]) == (painted["id"], PROMPT, 5, "accepted")
    assert PROMPT in run("list").out


def test_an_empty_home_is_no_error_to_list(run: Run, home: Path) -> None:
    assert run("list", "--json").json == {"home": str(home), "creations": []}
    assert "no creation" in run("list").out
    assert run("show").code == 2


def test_list_shows_damage_and_goes_on(run: Run, painted: Any) -> None:
    run("paint", "a cat")
    Path(Store().step_path(painted["head"])).unlink()
    rows = {row["id"]: row["state"] for row in run("list", "--json").json["creations"]}
    assert rows.pop(painted["id"]) == "damaged"
    assert list(rows.values()) == ["accepted"]


def test_replay_writes_the_pictures_again(run: Run, painted: Any, tmp_path: Path) -> None:
    out = tmp_path / "a" / "b"
    frames = run("replay", "--out", out, "--json").json["steps"]
    written = [frame["image"] for frame in frames if frame["image"]]
    assert sorted(written) == sorted(map(str, out.iterdir()))
    last = Image.open(written[-1])
    assert last.tobytes() == Image.open(painted["image"]).tobytes()
    assert run("replay").code == 0


def test_export(run: Run, painted: Any, tmp_path: Path) -> None:
    named, newest = tmp_path / "a.png", tmp_path / "b.png"
    assert run("export", painted["id"], named).out.strip() == str(named)
    assert run("export", newest, "--json").json == {"id": painted["id"], "head": painted["head"], "file": str(newest)}
    assert named.read_bytes() == newest.read_bytes()
    assert run("export", painted["id"], tmp_path / "a.jpg").code == 2


def test_pause_and_resume(run: Run) -> None:
    waiting = run("paint", PROMPT, "--seed", 5, "--pause", "before:refine", "--pause", "after:plan", "--json")
    assert waiting.json["stop_reason"] is None
    assert f"brushloop resume {waiting.json['id']}" in waiting.err
    assert [step["kind"] for step in waiting.json["steps"]] == ["brief", "plan"]
    assert "waits" in run("resume", "--last", "--pause", "after:draft").out
    done = run("resume", "--last", "--json")
    assert done.json["id"] == waiting.json["id"] and done.json["stop_reason"] == "accepted"
    assert run("resume", waiting.json["id"], "--json").json == done.json


def test_the_same_seed_gives_the_same_steps(run: Run, painted: Any) -> None:
    again = run("paint", PROMPT, "--seed", 5, "--json").json
    assert again["head"] == painted["head"] and again["id"] != painted["id"]


def test_limits(run: Run) -> None:
    one = run("paint", PROMPT, "--seed", 6, "--budget", "rounds=1,seconds=60", "--json").json
    assert one["stop_reason"] == "rounds"
    two = run("paint", PROMPT, "--seed", 6, "--budget", "rounds=9", "--rounds", 1, "--json").json
    assert two["head"] != one["head"] and two["stop_reason"] == "rounds", "an option of its own wins"
    brief = Creation.open(Store(), two["id"]).brief
    assert brief.budget.rounds == 1 and brief.budget.seconds == 600
    pixels = run("paint", PROMPT, "--seed", 6, "--pixels", 1, "--tokens", 10**6, "--json").json
    assert pixels["stop_reason"] == "pixels"


def test_fork_at_a_step(run: Run, painted: Any) -> None:
    draft = painted["steps"][2]["hash"]
    for at in ("2", draft, draft[:10]):
        forked = run("fork", painted["id"], "--at", at, "--id", f"fork-{at[:10]}", "--json").json
        assert forked["id"] == f"fork-{at[:10]}"
        assert forked["steps"][2]["hash"] == draft and forked["steps"][3]["kind"] == "brief"
    for at in ("99", "zz", "abcdef"):
        failed = run("fork", painted["id"], "--at", at)
        assert failed.code == 2 and "has no step" in failed.err


def test_resume_uses_the_makers_it_was_begun_with(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr(studio, "open_painter", lambda name: opened.append(name) or ToyPainter())
    run("paint", PROMPT, "--painter", "flux:large", "--pause", "after:plan")
    run("resume")
    run("fork", "--painter", "flux:small")
    assert opened == ["flux:large", "flux:large", "flux:small"]


def test_verify_names_what_was_changed(run: Run, painted: Any) -> None:
    whole = run("verify", "--json")
    assert whole.code == 0 and whole.json == {"id": painted["id"], "ok": True, "problems": []}
    Path(painted["image"]).write_bytes(b"something else")
    harmed = run("verify", painted["id"], "--json")
    assert harmed.code == 4 and not harmed.json["ok"]
    assert [problem["object"] for problem in harmed.json["problems"]] == [Path(painted["image"]).stem]
    assert "corrupt_object" in run("verify").out


def test_verify_of_a_damaged_head(run: Run, painted: Any, home: Path) -> None:
    (home / "heads" / f"{painted['id']}.jsonl").write_text("nonsense")
    harmed = run("verify", painted["id"], "--json")
    assert harmed.code == 4 and harmed.json["problems"][0]["kind"] == "corrupt_object"


def test_words_of_a_model_do_not_steer_the_terminal() -> None:
    assert clean("a\x1b[2Jb\nc\u202ed") == "a [2Jb c d"


@pytest.mark.models
def test_models_tells_the_world(run: Run) -> None:
    value = run("models", "--json").json
    assert all(value[part] for part in WORLD)
    assert {model["kind"] for model in value["models"]} == {"painter", "vlm"}
    assert all(re.fullmatch(r"[0-9a-f]{64}", model["weights"]) and model["bytes"] for model in value["models"])
    assert "objects" in run("models").out


# Of a process of its own


def command(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "brushloop", *words],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=60,
    )


@pytest.mark.parametrize("words", [(), *((name,) for name in COMMANDS)])
def test_help(words: tuple[str, ...]) -> None:
    told = command(*words, "--help")
    assert told.returncode == 0 and not told.stderr
    assert "Usage: brushloop" in told.stdout
    if words:
        assert "--json" in told.stdout
    else:
        assert all(name in told.stdout for name in COMMANDS)


def test_looking_loads_no_model_library(run: Run, painted: Any, tmp_path: Path) -> None:
    script = (
        "import sys\nfrom brushloop.cli.main import main\n"
        f"page = {str(tmp_path / 'x.html')!r}\n"
        "for words in (['list'], ['show', '--html', page], ['steps'], ['replay'], ['verify']):\n"
        "    assert main(words) == 0\n"
        "print([name for name in ('torch', 'langgraph', 'transformers', 'diffusers') if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines()[-1] == "[]"


def test_version_and_no_words_at_all() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", command("--version").stdout)
    assert "Usage" in command().stdout


def test_the_reference_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("cli_reference", ROOT / "scripts" / "cli_reference.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text(encoding="utf-8") == module.reference(), "run python scripts/cli_reference.py"


# What a person answers


@pytest.fixture
def waiting(run: Run) -> Any:
    return run("paint", PROMPT, "--seed", 6, "--pause", "after:reflect", "--json").json


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SHORT.model_dump_json(), "plan: 1 step: paint it all"),
        ('{"verdict": "accept"}', "2 of 2 as planned; not yet: red ball"),
        ('{"edit": "add", "instruction": "add a kite", "regions": [[50, 5, 70, 25]]}', "asked: add a kite"),
    ],
)
def test_resume_with_an_edit(text: str, said: str, run: Run, waiting: Any, tmp_path: Path) -> None:
    file = tmp_path / "edit.json"
    file.write_text(text)
    done = run("resume", "--edit", file, "--json").json
    (human,) = [step for step in done["steps"] if step["kind"] == "human"]
    assert human["text"] == said
    assert done["stop_reason"]


def test_resume_and_fork_with_a_picture(run: Run, waiting: Any, tmp_path: Path) -> None:
    file = tmp_path / "mine.png"
    Image.new("RGB", (40, 40), INK).save(file)
    done = run("resume", "--edit", file, "--json").json
    assert "another picture" in [step["text"] for step in done["steps"]]
    assert Image.open(done["image"]).convert("RGB").getcolors() == [(1600, INK)]
    forked = run("fork", "--edit", file, "--json").json
    assert [step["kind"] for step in forked["steps"]][len(done["steps"]) :][:2] == ["brief", "human"]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("x.json", "not json", "cannot be used"),
        ("x.json", "[]", "neither a plan"),
        ("x.json", '{"elements": []}', "is no plan: elements"),
        ("x.json", '{"verdict": "nice"}', "is no critique: verdict"),
        ("x.png", "not a picture", "not a whole PNG"),
        ("x.png", None, "there is no picture at"),
    ],
)
def test_an_edit_that_cannot_be_read(
    name: str, text: str | None, says: str, run: Run, waiting: Any, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    failed = run("resume", "--edit", tmp_path / name)
    assert failed.code == 2 and says in failed.err
    assert Store().head(waiting["id"]) == waiting["head"]
