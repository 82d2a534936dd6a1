"""A real server: streams that are cut, clients of OpenAI, a server that is killed, and the command."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from conftest import ROOT
from fakes import BALL, INK
from PIL import Image
from serving import running, toy_studio

import brushloop.cli.serve as command
from brushloop import Studio
from brushloop.cli.main import main
from brushloop.serve.app import create_app

PROMPT = "a cat and a red ball on a beach"
SKY = (10, 20, 250)
SECONDS = 60
"""What a busy machine may take to answer."""
get, post = partial(httpx.get, timeout=SECONDS), partial(httpx.post, timeout=SECONDS)


@pytest.fixture
def url(home: Path) -> Iterator[str]:
    with running(create_app(toy_studio(home, slow=0.004))) as url:
        yield url


@pytest.fixture
def painter(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def opened(text: str | None) -> Image.Image:
    assert text
    return Image.open(io.BytesIO(base64.b64decode(text)))


def read_one(url: str, last: int | None) -> tuple[int, dict[str, Any]] | None:
    """Read one event after `last`, then cut the connection."""
    headers = {"Last-Event-ID": str(last)} if last else {}
    with httpx.stream("GET", url, headers=headers, timeout=SECONDS) as answer:
        if answer.status_code == 204:
            return None
        number = 0
        for line in answer.iter_lines():
            if line.startswith("id: "):
                number = int(line[4:])
            if line.startswith("data: "):
                return number, json.loads(line[6:])
    return None


def test_a_stream_cut_at_every_event_loses_and_doubles_nothing(url: str) -> None:
    """Cut while it is being painted: each event is read over a connection of its own."""
    id = post(f"{url}/v1/creations", json={"prompt": PROMPT}).json()["id"]
    path, seen, last = f"{url}/v1/creations/{id}/events", [], None
    while event := read_one(path, last):
        last, value = event
        seen.append((last, value))
    assert [number for number, _ in seen] == list(range(1, len(seen) + 1))
    assert seen[-1][1]["type"] == "done" and len(seen) >= 20
    chain = get(f"{url}/v1/creations/{id}/steps").json()["data"]
    assert [value["hash"] for _, value in seen if value["type"] == "step"] == [step["hash"] for step in chain]


def test_a_step_is_told_within_a_second(url: str) -> None:
    id = post(f"{url}/v1/creations", json={"prompt": PROMPT}).json()["id"]
    late = []
    with httpx.stream("GET", f"{url}/v1/creations/{id}/events", timeout=SECONDS) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: "):
                at = json.loads(line[6:])["at"]
                late.append(time.time() - datetime.fromisoformat(at).timestamp())
    assert statistics.median(late) < 1


def test_the_openai_client_generates(painter: openai.OpenAI) -> None:
    made = painter.images.generate(model="gpt-image-1", prompt=PROMPT, n=2, size="40x40", extra_body={"seed": 5})  # type: ignore[call-overload]
    assert len(made.data) == 2 and made.usage.total_tokens > 0 and made.size == "40x40"
    assert all(opened(each.b64_json).size == (40, 40) for each in made.data)
    direct = Studio(*_toys(), Path(os.environ["BRUSHLOOP_HOME"]) / "direct").paint(PROMPT, 5)
    assert direct.image and opened(made.data[0].b64_json).tobytes() == direct.image.tobytes()
    jpeg = painter.images.generate(prompt=PROMPT, output_format="jpeg", output_compression=50)
    assert jpeg.data and opened(jpeg.data[0].b64_json).format == "JPEG"
    linked = painter.images.generate(prompt=PROMPT, response_format="url")
    assert linked.data and linked.data[0].url
    assert Image.open(io.BytesIO(get(linked.data[0].url).content)).size == (40, 40)


def test_the_openai_client_streams_rounds(painter: openai.OpenAI, url: str) -> None:
    events = list(painter.images.generate(prompt=PROMPT, stream=True))
    kinds = [event.type for event in events]
    assert kinds == ["image_generation.partial_image"] * (len(kinds) - 1) + ["image_generation.completed"]
    assert [event.partial_image_index for event in events[:-1]] == list(range(len(kinds) - 1))  # type: ignore[union-attr]
    assert events[-1].usage.total_tokens > 0  # type: ignore[union-attr]
    newest = get(f"{url}/v1/creations").json()["data"][0]
    steps = get(f"{url}/v1/creations/{newest['id']}/steps").json()["data"]
    assert len(kinds) - 1 == sum(step["kind"] in ("draft", "refine") for step in steps)
    assert [e.type for e in painter.images.generate(prompt=PROMPT, stream=True, partial_images=1)] == kinds[-2:]


def test_the_openai_client_edits(painter: openai.OpenAI) -> None:
    holes = Image.new("RGBA", (40, 40), "black")
    holes.paste((0, 0, 0, 0), tuple(edge * 40 // 100 for edge in BALL))
    picture = png(Image.new("RGB", (40, 40), SKY))
    budget = {"seed": 3}
    made = painter.images.edit(image=picture, mask=png(holes), prompt=PROMPT, extra_body=budget)
    assert made.data
    image = opened(made.data[0].b64_json)
    assert image.getpixel((30, 30)) == INK and image.getpixel((5, 5)) == SKY, "transparent is where it may change"
    events = list(painter.images.edit(image=[picture], prompt=PROMPT, stream=True))
    assert events[-1].type == "image_edit.completed" and events[0].type == "image_edit.partial_image"


def test_the_openai_client_understands_our_errors(painter: openai.OpenAI) -> None:
    for wrong in ({"prompt": " "}, {"prompt": PROMPT, "size": "1024x1024"}, {"prompt": PROMPT, "n": 0}):
        with pytest.raises(openai.APIStatusError) as raised:
            painter.images.generate(**wrong)  # type: ignore[call-overload]
        assert raised.value.status_code in (400, 422) and raised.value.code
    with pytest.raises(openai.BadRequestError, match="2 pictures were given"):
        two = png(Image.new("RGB", (4, 4)))
        painter.images.edit(image=[two, two], prompt=PROMPT)
    with pytest.raises(openai.BadRequestError, match="not a whole"):
        painter.images.edit(image=b"text", prompt=PROMPT)
    assert [model.id for model in painter.models.list()] == ["toy-painter", "toy-vlm"]


def test_a_listener_who_leaves_a_stream_ends_it(painter: openai.OpenAI, url: str) -> None:
    stream = painter.images.generate(prompt=PROMPT, stream=True, extra_body={"budget": {"rounds": 20}})
    next(iter(stream))
    stream.close()
    for _ in range(20 * SECONDS):
        newest = get(f"{url}/v1/creations").json()["data"][0]
        if newest["state"] == "finished":
            break
        time.sleep(0.05)
    assert newest["state"] == "finished"


def test_a_large_upload_is_refused_before_it_is_read(url: str) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(200):
            yield b"x" * 1_000_000

    began = time.monotonic()
    try:
        answer = post(f"{url}/v1/images/edits", content=pieces(), headers={"Content-Length": str(200_000_000)})
        assert answer.status_code == 413
    except httpx.TransportError:
        pass  # it hung up while we were still sending: refused all the same
    assert time.monotonic() - began < SECONDS
    assert get(f"{url}/v1/health").status_code == 200


def _toys() -> tuple[Any, Any]:
    from fakes import ToyPainter, ToyVLM

    return ToyPainter(), ToyVLM()


@pytest.mark.parametrize("moment", ["accepted", "denoise", "step"])
def test_a_server_that_is_killed_goes_on_where_it_was(home: Path, moment: str) -> None:
    ids: list[str] = []
    for slow in ("0.02", "0"):
        child = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "serving.py"), str(home), slow], stdout=subprocess.PIPE, text=True
        )
        try:
            assert child.stdout
            url = child.stdout.readline().strip()
            if not ids:
                ids = [post(f"{url}/v1/creations", json={"prompt": PROMPT, "seed": n}).json()["id"] for n in (0, 1)]
                before, last = [], None
                while moment != "accepted" and (event := read_one(f"{url}/v1/creations/{ids[0]}/events", last)):
                    last = event[0]
                    before.append(event)
                    if event[1]["type"] == moment and len(before) > 8:
                        break
                os.kill(child.pid, signal.SIGKILL)
                continue
            after = []
            while event := read_one(f"{url}/v1/creations/{ids[0]}/events", last):
                last = event[0]
                after.append(event)
            for _ in range(20 * SECONDS):
                views = [get(f"{url}/v1/creations/{id}").json() for id in ids]
                if all(view["state"] == "finished" for view in views):
                    break
                time.sleep(0.05)
        finally:
            child.kill()
            child.wait()
            assert child.stdout
            child.stdout.close()
    assert [view["stop_reason"] for view in views] == ["accepted", "accepted"]
    numbers = [number for number, _ in before + after]
    assert numbers == list(range(1, len(numbers) + 1)), "no event is lost or doubled over the restart"
    hashes = [event["hash"] for _, event in before + after if event["type"] == "step"]
    for seed, view in enumerate(views):
        direct = Studio(*_toys(), home / "direct").paint(PROMPT, seed)
        assert view["head"] == direct.head
        assert seed or hashes == direct.hashes


def test_the_command(home: Path) -> None:
    words = [sys.executable, "-m", "brushloop", "serve", "--port", "0", "--json"]
    child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert child.stdout
        head = "".join(iter(lambda: child.stdout.readline() if child.stdout else "", "}\n")) + "}"
        told = json.loads(head)
        assert get(f"{told['url']}/v1/health").json()["status"] == "ok"
        assert get(f"{told['url']}/v1/creations").json()["data"] == []
        child.send_signal(signal.SIGTERM)
        _, err = child.communicate(timeout=SECONDS)
        assert child.returncode in (0, 130, -signal.SIGTERM) and "Traceback" not in err
    finally:
        child.kill()
        child.wait()


def test_the_command_refuses_in_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["serve", "--host", "0.0.0.0"]) == 2
    assert re.fullmatch(r"error\[input\]: [^\n]*BRUSHLOOP_API_KEY[^\n]*\n", capsys.readouterr().err)
    assert main(["mcp", "--http", "--host", "0.0.0.0"]) == 2
    assert main(["serve", "--host", "no.such.host.invalid", "--allow-host", "x"]) == 2
    monkeypatch.setenv("BRUSHLOOP_API_KEY", "k" * 20)
    assert main(["serve", "--host", "256.256.256.256", "--port", "1"]) == 1
    assert "cannot listen on" in capsys.readouterr().err
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(command.BackendError, match="brushloop\\[serve\\]"):
        command.serve()
