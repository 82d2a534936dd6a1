"""What can go wrong from outside: each time one clear line, a documented exit code, and nothing lost."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import MODELS
from fakes import ToyPainter, ToyVLM
from PIL import Image, PngImagePlugin

import brushloop.agent.studio as studio
from brushloop import Creation, Step, Store, Studio
from brushloop.canvas import StepKind
from brushloop.cli.main import main
from brushloop.creation import RECIPE_KEY
from brushloop.vlm import Question, Reply

PROMPT = "a cat and a red ball on a beach"
TESTS = Path(__file__).parent
Fails = Callable[..., str]


def half(**extra: Any) -> ToyPainter:
    """A painter of which half the pictures come to nothing, decided by the seed alone."""
    return ToyPainter(fails=lambda request: request.seed % 2 == 0, **extra)


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studio, "open_painter", lambda name: half())
    monkeypatch.setattr(studio, "open_vlm", lambda name: ToyVLM())


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Fails:
    """Run a command that must fail with an exit code and an error code, and return its message."""

    def run(exit_code: int, code: str, *words: object) -> str:
        capsys.readouterr()
        assert main([str(word) for word in words]) == exit_code
        said = capsys.readouterr()
        assert not said.out
        message = the_one_line(said.err, code)
        if exit_code != 130:  # what is interrupted does not happen twice
            assert main([*map(str, words), "--json"]) == exit_code
            told = json.loads(capsys.readouterr().out)["error"]
            assert told["code"] == code and told["message"]
        return message

    return run


def the_one_line(err: str, code: str) -> str:
    """The message of the only error line, which is the last line."""
    assert "Traceback" not in err
    lines = err.splitlines()
    assert [line for line in lines if line.startswith("error[")] == lines[-1:], err
    start = f"error[{code}]: "
    assert lines[-1].startswith(start), lines[-1]
    return lines[-1].removeprefix(start)


@pytest.fixture
def whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> Creation:
    """The creation that is painted without any trouble, in another home."""
    creation = Studio("embedded", "embedded", tmp_path / "other").paint(PROMPT, seed=5)
    assert {step.kind for step in creation.steps} >= set(StepKind) - {StepKind.HUMAN}
    return creation


def resumed() -> Creation:
    return Studio().resume()


# Prompts


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        ("", "is empty"),
        (" \n\t", "is empty"),
        ("a" * 100_000, "100000 characters long: shorten it to 2000"),
        ("a \x1b[31m cat", "control characters"),
        ("a \udcff cat", "the prompt is not valid Unicode text"),
        ("a \ufffd cat", "not text"),
    ],
)
def test_prompts(prompt: str, says: str, fails: Fails, home: Path) -> None:
    assert says in fails(2, "prompt", "paint", prompt)
    assert not home.exists(), "nothing is recorded"


def test_an_unknown_object(fails: Fails, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    vlm = ToyVLM(unknown=[("appel", ["apple", "ape"]), ("qzx", [])])
    monkeypatch.setattr(studio, "open_vlm", lambda name: vlm)
    message = fails(2, "outside_world", "paint", "an appel and a qzx")
    assert "'appel' (nearest: apple, ape)" in message and "'qzx'" in message
    assert not Store().heads()


# Numbers


@pytest.mark.parametrize(
    ("size", "says"),
    [("8x8", "40x40 is possible"), ("big", "128x128"), ("0x0", "size"), ("-4x4", "128x128"), ("9" * 30, "128x128")],
)
def test_sizes(size: str, says: str, fails: Fails) -> None:
    code = "input" if size == "0x0" else "size"
    assert says in fails(2, code, "paint", PROMPT, f"--size={size}")
    assert not Store().heads()


@pytest.mark.parametrize("seed", ["-1", str(2**63)])
def test_seeds(seed: str, fails: Fails) -> None:
    assert "seed" in fails(2, "usage", "paint", PROMPT, f"--seed={seed}")


@pytest.mark.parametrize(
    "words",
    [
        ("--rounds=0",),
        ("--seconds=0",),
        ("--seconds=-3",),
        ("--seconds=nan",),
        ("--seconds=inf",),
        ("--tokens=0",),
        ("--pixels=0",),
        ("--budget=rounds=0",),
        ("--budget=rounds=1.5",),
        ("--budget=rounds",),
        ("--budget=lunches=3",),
        ("--budget=seconds=soon",),
    ],
)
def test_budgets(words: tuple[str, ...], fails: Fails) -> None:
    fails(2, "input", "paint", PROMPT, *words)
    assert not Store().heads()


@pytest.mark.parametrize(
    "words",
    [("paint",), ("paint", "a", "b"), ("paint", "a", "--seed", "x"), ("dream",), ("steps", "--nosuch"), ("export",)],
)
def test_usage(words: tuple[str, ...], fails: Fails) -> None:
    assert "--help" in fails(2, "usage", *words)


@pytest.mark.parametrize("place", ["refine", "before:lunch", "during:draft"])
def test_places_to_pause(place: str, fails: Fails) -> None:
    assert "before:refine" in fails(2, "input", "paint", PROMPT, "--pause", place)


# Names and files


@pytest.mark.parametrize("command", ["show", "steps", "replay", "verify", "resume", "fork"])
@pytest.mark.parametrize("name", ["nobody", "../../etc/passwd.png", "", "*", "a\nb"])
def test_names(command: str, name: str, fails: Fails, whole: Creation) -> None:
    fails(2, "input" if name.endswith(".png") else "unknown_creation", command, name)


def test_pictures_without_a_recipe(fails: Fails, tmp_path: Path) -> None:
    plain, text, harmed = tmp_path / "plain.png", tmp_path / "text.png", tmp_path / "harmed.png"
    image = Image.new("RGB", (4, 4))
    image.save(plain)
    text.write_text("not a picture")
    chunk = PngImagePlugin.PngInfo()
    chunk.add_itxt(RECIPE_KEY, '{"id": "../x"}')
    image.save(harmed, pnginfo=chunk)
    for path, says in ((plain, "no brushloop recipe"), (text, "not a whole PNG"), (harmed, "damaged")):
        assert says in fails(2, "input", "show", path)
        assert says in fails(2, "input", "fork", path)


def test_where_to_export(fails: Fails, tmp_path: Path) -> None:
    assert ".png" in fails(2, "input", "paint", PROMPT, "--out", tmp_path / "cat.jpg")
    assert "no folder" in fails(2, "input", "paint", PROMPT, "--out", tmp_path / "no" / "cat.png")
    assert not Store().heads(), "found out before the painting"


# Weights


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real backends again."""
    from brushloop.painter.base import open_painter
    from brushloop.vlm import open_vlm

    monkeypatch.setattr(studio, "open_painter", open_painter)
    monkeypatch.setattr(studio, "open_vlm", open_vlm)


@pytest.mark.usefixtures("real")
def test_unknown_backends(fails: Fails) -> None:
    assert "'oil'" in fails(3, "backend", "paint", PROMPT, "--painter", "oil")


@pytest.mark.usefixtures("real")
def test_no_weights_folder(fails: Fails, tmp_path: Path, home: Path) -> None:
    for words in (("--painter", f"flux:{tmp_path / 'no'}"), ("--painter", f"flux:{tmp_path}")):
        assert str(tmp_path) in fails(3, "weights", "paint", PROMPT, *words)
    assert not home.exists()


def harm_truncated(folder: Path) -> None:
    for path in folder.rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def harm_foreign(folder: Path) -> None:
    for path in folder.rglob("*.json"):
        path.write_text('{"model_type": "something else"}')


def harm_garbled(folder: Path) -> None:
    for path in folder.rglob("*.json"):
        path.write_bytes(b"\x00\xff not json")


@pytest.mark.models
@pytest.mark.usefixtures("real")
@pytest.mark.parametrize("harm", [harm_truncated, harm_foreign, harm_garbled])
@pytest.mark.parametrize(("kind", "option"), [("painter", "--painter=flux:"), ("vlm", "--vlm=hf:")])
def test_damaged_weights(
    kind: str, option: str, harm: Callable[[Path], None], fails: Fails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / kind
    shutil.copytree(MODELS / kind, folder)
    harm(folder)
    if kind == "painter":
        monkeypatch.setattr(studio, "open_vlm", lambda name: ToyVLM())
    else:
        monkeypatch.setattr(studio, "open_painter", lambda name: half())
    message = fails(3, "weights", "paint", "a cat", option + str(folder))
    assert str(folder) in message


# The store


@pytest.fixture
def painted() -> Creation:
    return Studio("embedded", "embedded").paint(PROMPT, seed=5)


LOOKING = (("show",), ("steps",), ("replay",), ("fork",), ("resume",))


@pytest.mark.parametrize("words", LOOKING)
def test_a_missing_step(words: tuple[str, ...], painted: Creation, fails: Fails) -> None:
    victim = painted.hashes[2]
    Path(painted.store.step_path(victim)).unlink()
    assert victim in fails(4, "missing_object", *words)


@pytest.mark.parametrize("words", LOOKING)
def test_a_changed_step(words: tuple[str, ...], painted: Creation, fails: Fails) -> None:
    path = Path(painted.store.step_path(painted.hashes[2]))
    path.write_bytes(path.read_bytes().replace(b"cat", b"dog"))
    assert str(path) in fails(4, "corrupt_object", *words)


def test_a_changed_picture(painted: Creation, fails: Fails, tmp_path: Path) -> None:
    assert painted.frame
    path = Path(painted.store.image_path(painted.frame))
    path.write_bytes(path.read_bytes()[:50])
    for words in (("replay",), ("export", tmp_path / "x.png"), ("show", "--html", tmp_path / "x.html")):
        assert str(path) in fails(4, "corrupt_object", *words)
    assert not list(tmp_path.glob("x.*"))


@pytest.mark.parametrize("words", LOOKING)
def test_a_step_of_a_later_version(words: tuple[str, ...], painted: Creation, fails: Fails) -> None:
    later = painted.steps[-1].model_copy(update={"version": 99})
    digest = painted.store.put_step(later)
    log = Path(painted.store.url) / "heads" / f"{painted.id}.jsonl"
    log.write_text(json.dumps(json.loads(log.read_text().splitlines()[-1]) | {"head": digest}))
    assert "upgrade brushloop" in fails(4, "version", *words)


def test_a_checkpoint_file_of_something_else(fails: Fails, home: Path) -> None:
    home.mkdir()
    (home / "checkpoints.sqlite").write_bytes(b"not a database" * 100)
    assert "delete it" in fails(4, "store", "paint", PROMPT, "--seed", 5)


def test_a_home_that_cannot_be_written(fails: Fails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv("BRUSHLOOP_HOME", str(file / "home"))
    assert str(file) in fails(4, "unwritable", "paint", PROMPT)


def test_a_home_of_no_known_kind(fails: Fails, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRUSHLOOP_HOME", "nosuch://x")
    assert "BRUSHLOOP_HOME" in fails(4, "store", "list")


def test_a_page_that_cannot_be_written(painted: Creation, fails: Fails, tmp_path: Path) -> None:
    fails(4, "unwritable", "show", "--html", tmp_path / "no" / "page.html")
    fails(4, "unwritable", "replay", "--out", Path(painted.store.url) / "heads" / f"{painted.id}.jsonl")


@pytest.mark.parametrize("kind", ["plan", "draft", "reflect", "refine", "finish"])
def test_a_disk_that_fills_up(kind: str, whole: Creation, fails: Fails, monkeypatch: pytest.MonkeyPatch) -> None:
    real, put, full = os.replace, Store.put_step, threading.Event()

    def replace(source: Any, target: Any) -> None:
        if full.is_set():
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)

    def put_step(self: Store, step: Step) -> str:
        if step.kind.value == kind:
            full.set()
        return put(self, step)

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(Store, "put_step", put_step)
    assert main(["paint", PROMPT, "--seed", "5"]) == 4
    full.clear()
    monkeypatch.setattr(Store, "put_step", put)
    assert resumed().hashes == whole.hashes


# Signals


def interrupting(node: str, signum: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send this process a signal as soon as a node is at work; only the first time."""
    sent = threading.Event()

    def send() -> None:
        if not sent.is_set():
            sent.set()
            os.kill(os.getpid(), signum)
            time.sleep(0.1)  # long enough for the main thread to hear of it

    class VLM(ToyVLM):
        def ask(self, question: Question) -> Reply:
            if question.text.startswith("plan:") is (node == "plan") and node in ("plan", "reflect"):
                send()
            return super().ask(question)

    painter = half()
    painter.during = lambda done: (
        send() if node == ("refine" if len(painter.requests) > 1 else "draft") and done == 3 else None
    )
    put = Store.put_step

    def put_step(self: Store, step: Step) -> str:
        if step.kind.value == node == "finish":
            send()
        return put(self, step)

    monkeypatch.setattr(Store, "put_step", put_step)
    monkeypatch.setattr(studio, "open_painter", lambda name: painter)
    monkeypatch.setattr(studio, "open_vlm", lambda name: VLM())


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("node", ["plan", "draft", "reflect", "refine", "finish"])
def test_interrupted_in_any_node(
    node: str, signum: int, whole: Creation, fails: Fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupting(node, signum, monkeypatch)
    message = fails(130, "interrupted", "paint", PROMPT, "--seed", 5)
    (head,) = Store().heads()
    assert f"brushloop resume {head.id}" in message
    stopped = Creation.open(Store(), head.id)
    assert stopped.finished, "the best picture so far is kept"
    assert stopped.hashes[:-1] == whole.hashes[: len(stopped.hashes) - 1]
    assert Store().verify(head.id) == []
    monkeypatch.setattr(studio, "open_painter", lambda name: half())
    monkeypatch.setattr(studio, "open_vlm", lambda name: ToyVLM())
    assert resumed().hashes == whole.hashes


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_before_anything_is_made(signum: int, fails: Fails, monkeypatch: pytest.MonkeyPatch) -> None:
    def loading(name: str) -> ToyPainter:
        os.kill(os.getpid(), signum)
        time.sleep(1)
        raise AssertionError("not reached")

    monkeypatch.setattr(studio, "open_painter", loading)
    fails(130, "interrupted", "paint", PROMPT)
    assert not Store().heads()


def test_the_signal_handler_is_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert main(["list"]) == 0
    assert signal.getsignal(signal.SIGTERM) is before


SCRIPT = """
import sys, time
from fakes import ToyPainter, ToyVLM
import brushloop.agent.studio as studio

def during(done):
    print("painting", flush=True, file=sys.stderr)
    time.sleep(0.2)

studio.open_painter = lambda name: ToyPainter(during=during)
studio.open_vlm = lambda name: ToyVLM()
from brushloop.cli.main import main
sys.exit(main(["paint", "a cat and a red ball on a beach", "--json"]))
"""


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("times", [1, 2])
def test_a_process_that_is_interrupted(signum: int, times: int) -> None:
    environment = os.environ | {"PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}"}
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stderr is not None
        while "painting" not in process.stderr.readline():
            assert process.poll() is None
        for _ in range(times):
            process.send_signal(signum)
            time.sleep(0.05)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "brushloop resume" in json.loads(out)["error"]["message"]


# And whatever nobody foresaw


def test_the_unforeseen_is_one_line_too(
    fails: Fails, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(name: str) -> ToyPainter:
        raise ZeroDivisionError("over\nthere")

    monkeypatch.setattr(studio, "open_painter", broken)
    message = fails(1, "unexpected", "paint", PROMPT)
    assert message == "ZeroDivisionError: over there; BRUSHLOOP_DEBUG=1 shows where"
    monkeypatch.setenv("BRUSHLOOP_DEBUG", "1")
    assert main(["paint", PROMPT]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_reader_that_has_seen_enough(painted: Creation) -> None:
    piped = f"{sys.executable} -m brushloop steps | head -c 1"
    told = subprocess.run(["bash", "-c", f"set -o pipefail; {piped}"], capture_output=True, text=True, timeout=60)
    assert told.returncode == 0 and not told.stderr
