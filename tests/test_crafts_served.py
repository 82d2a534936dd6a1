"""Processes over HTTP and MCP, by a tiny base with adapters; pictures and the steps that lead to them."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest
import tiny_flux
from fakes import ToyVLM
from fastapi.testclient import TestClient
from mcp import Client
from PIL import Image
from test_mcp import ask, call, refused
from test_serve import encoded, post, settled, told

from brushloop import Creation, Studio
from brushloop.agent import crafts
from brushloop.canvas import Step, StepKind, Task
from brushloop.errors import WeightsError
from brushloop.painter.adapters import files
from brushloop.painter.workshop import ENVIRONMENT
from brushloop.serve.app import create_app
from brushloop.serve.views import step_view
from brushloop.tutorial.making import book_of

CELLS = {"2x2": 32, "3x3": 32}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base, and its adapters beside it."""
    where = tmp_path_factory.mktemp("base")
    files.write(tiny_flux.adapter(("emoji", "icon"), cells=CELLS), where / "process.safetensors")
    files.write(tiny_flux.adapter(("recraft",), seed=9, cells=CELLS), where / "recraft.safetensors")
    tiny_flux.folder(where / "base")
    return where


@pytest.fixture
def studio(base: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Studio:
    for name, file in zip(ENVIRONMENT, ("process", "recraft"), strict=True):
        monkeypatch.setenv(name, str(base / f"{file}.safetensors"))
    return Studio(f"flux:{base / 'base'}", ToyVLM(), home)


def noise() -> Image.Image:
    return Image.effect_noise((70, 30), 80).convert("RGB")


def made(studio: Studio, **asked: Any) -> Creation:
    return studio.go(crafts.begin(studio, "a cat", "emoji", **asked).id)


def test_recraft_ends_with_the_picture(studio: Studio) -> None:
    picture = noise()
    one = made(studio, picture=picture)
    assert one.brief.task is Task.RECRAFT and len(crafts.frames(one)) == 4
    assert one.image and one.image.tobytes() == picture.tobytes()
    assert one.steps[0].outputs == one.steps[-1].outputs, "it is the picture that the brief gave"
    assert "painted backwards" in book_of(one).guide.introduction


def test_what_no_adapter_can_do_is_told_before_it_is_recorded(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT[1])
    with pytest.raises(WeightsError, match="reads given frames"):
        crafts.begin(studio, "a cat", "emoji", noise())
    monkeypatch.delenv(ENVIRONMENT[0])
    with pytest.raises(WeightsError, match="no adapter for emoji"):
        crafts.begin(studio, "a cat", "emoji")
    assert studio.store.heads() == [] and not crafts.workshop(studio).domains()


def test_over_http(studio: Studio) -> None:
    with TestClient(create_app(studio), base_url="http://localhost") as client:
        asked = {"prompt": "a cat", "domain": "emoji"}
        id = client.post("/v1/creations", json=asked).json()["id"]
        done = settled(client, id)
        assert (done["state"], done["task"], done["stop_reason"]) == ("finished", "process", "rounds")
        events = [event for _, event in told(client, id)]
        assert {"denoise", "step", "done"} <= {event["type"] for event in events}
        assert [event["hash"] for event in events if event["type"] == "step"] == studio.open(id).hashes
        page = client.get(f"/v1/creations/{id}/export", params={"format": "html"})
        assert page.status_code == 200 and page.text.count("data:image/") == 4
        back = post(client, "", picture=encoded(noise()), **asked)
        assert settled(client, back["id"])["task"] == "recraft"
        for more in ({"frames": 3, "domain": None}, {"pause": ["after:plan"]}, {"size": [32, 32]}, {"domain": "emojy"}):
            assert client.post("/v1/creations", json=asked | more).status_code == 400, more
        assert sorted(client.get("/v1/about").json()["domains"]) == ["emoji", "icon"]


def test_a_step_names_the_frames_that_led_to_its_picture(studio: Studio) -> None:
    made = crafts.begin(studio, "a cat", "emoji")
    frames = tuple(studio.store.put_image(Image.new("RGB", (8, 8), (shade, 0, 0))) for shade in (1, 2, 3))
    digest = studio.store.put_step(Step(kind=StepKind.DRAFT, parent=made.head, outputs=frames, text="in three frames"))
    view = step_view(studio.store, made.id, digest)
    assert view.picture and [frame.hash for frame in (*view.frames, view.picture)] == [frame.hash for frame in frames]
    assert step_view(studio.store, made.id, made.head).frames == []


def test_over_mcp(studio: Studio, home: Path) -> None:
    async def talk(client: Client) -> None:
        answer = await client.call_tool("process", {"prompt": "a cat", "domain": "emoji"})
        assert [part.type for part in answer.content] == ["text", "image", *["resource_link"] * 4]
        one = answer.structured_content
        (read,) = (await client.read_resource(answer.content[-1].uri)).contents  # type: ignore[union-attr]
        last = base64.b64decode(read.blob)  # type: ignore[union-attr]
        assert Image.open(io.BytesIO(last)).size == (32, 32)
        back = await call(client, "recraft", picture=one["picture"], prompt="a cat", domain="icon", frames=3, wait=0)
        assert back["state"] in ("queued", "running", "finished")
        done = await client.call_tool("result", {"id": back["id"]})
        assert done.structured_content["picture"].endswith(one["picture"].rpartition("/")[2]), "it ends as it was given"
        assert len(done.content) == 2 + 3
        file = await call(client, "export", id=back["id"], form="markdown")
        assert file["bytes"] > 1000
        assert "use emoji" in (await refused(client, "process", prompt="a cat", domain="emojy")).lower()

    ask(home, talk, studio)
