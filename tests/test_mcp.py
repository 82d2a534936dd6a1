"""The tools of the Model Context Protocol, through the SDK's own client: in process, over stdio and over HTTP."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from conftest import ROOT
from fakes import BALL, INK, SHORT, ToyPainter, ToyVLM
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from PIL import Image
from serving import running, toy_studio

from brushloop import Studio
from brushloop.serve.export import forms
from brushloop.serve.guard import Rules
from brushloop.serve.jobs import Jobs
from brushloop.serve.pictures import INLINE, small
from brushloop.serve.tools import create_server, over_http

PROMPT = "a cat and a red ball on a beach"
SKY = (10, 20, 250)
NAMES = {
    "paint",
    "edit",
    "process",
    "recraft",
    "start",
    "fork",
    "answer",
    "chat",
    "cancel",
    "status",
    "result",
    "steps",
    "export",
}


def ask(home: Path, talk: Callable[[Client], Awaitable[None]], studio: Studio | None = None) -> None:
    """Talk to a server in this process."""
    server, jobs = create_server(studio or toy_studio(home))

    async def session() -> None:
        async with Client(server) as client:
            await talk(client)

    jobs.start()
    try:
        asyncio.run(session())
    finally:
        jobs.close()


async def call(client: Client, name: str, **arguments: object) -> dict[str, Any]:
    answer = await client.call_tool(name, arguments)
    assert not answer.is_error, answer.content
    told: dict[str, Any] = answer.structured_content
    assert json.loads(answer.content[0].text) == told  # type: ignore[union-attr]
    return told


async def refused(client: Client, name: str, **arguments: object) -> str:
    answer = await client.call_tool(name, arguments)
    assert answer.is_error
    text: str = answer.content[0].text  # type: ignore[union-attr]
    return text


def test_every_tool_says_what_it_does(home: Path) -> None:
    async def talk(client: Client) -> None:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == NAMES
        for tool in tools.values():
            assert tool.description and tool.annotations and "ctx" not in tool.input_schema["properties"]
        assert tools["steps"].annotations.read_only_hint and not tools["paint"].annotations.read_only_hint  # type: ignore[union-attr]
        assert len((await client.list_resource_templates()).resource_templates) == 1 + len(forms())

    ask(home, talk)


def test_paint_steps_fork_and_export(home: Path) -> None:
    async def talk(client: Client) -> None:
        heard: list[str | None] = []

        async def progress(done: float, total: float | None, message: str | None) -> None:
            heard.append(message)

        answer = await client.call_tool("paint", {"prompt": PROMPT, "seed": 5}, progress_callback=progress)
        assert [part.type for part in answer.content] == ["text", "image", "resource_link"]
        told = answer.structured_content
        assert told["state"] == "finished" and told["stop_reason"] == "accepted"
        assert heard and any(message and message.startswith("draft:") for message in heard)
        inline = base64.b64decode(answer.content[1].data)  # type: ignore[union-attr]
        (read,) = (await client.read_resource(told["picture"])).contents
        assert len(inline) <= INLINE and base64.b64decode(read.blob) == inline  # type: ignore[union-attr]
        steps = (await call(client, "steps", id=told["id"]))["steps"]
        assert len(steps) == told["steps"] and steps[0]["kind"] == "brief" and steps[-1]["picture"] == told["picture"]
        forked = await call(client, "fork", id=told["id"], at="2", seed=9)
        assert forked["id"] != told["id"] and forked["state"] == "finished"
        changed = await call(client, "chat", id=forked["id"], said="remove the cat")
        assert changed["id"] == forked["id"] and changed["steps"] > forked["steps"]
        assert (await call(client, "chat", id=forked["id"], said="undo"))["id"] not in (forked["id"], told["id"])
        assert "error[input]" in await refused(client, "chat", id=forked["id"], said="remove the zebra")
        for form, magic in (
            ("png", b"\x89PNG"),
            ("html", b"<!DOCTYPE html>"),
            ("page", b"<!doctype html>"),
            ("json", b"{"),
        ):
            file = await call(client, "export", id=told["id"], form=form)
            (read,) = (await client.read_resource(file["resource"])).contents
            data = base64.b64decode(read.blob)  # type: ignore[union-attr]
            assert magic in data and len(data) == file["bytes"]

    ask(home, talk)


def test_long_work_is_started_asked_after_and_fetched(home: Path) -> None:
    async def talk(client: Client) -> None:
        begun = await call(client, "start", prompt=PROMPT, pause=["after:plan"])
        waits = await call(client, "result", id=begun["id"])
        assert (waits["state"], waits["next"]) == ("waiting", "draft")
        assert (await call(client, "status", id=begun["id"]))["state"] == "waiting"
        done = await call(client, "answer", id=begun["id"], plan=SHORT.model_dump(mode="json"))
        assert done["state"] == "finished"
        slow = await call(client, "start", prompt=PROMPT, pause=["before:draft"])
        assert (await call(client, "cancel", id=slow["id"]))["stop_reason"] == "cancelled"
        assert "error[conflict]" in await refused(client, "answer", id=slow["id"])

    ask(home, talk)


def test_waiting_ends_when_it_was_to(home: Path) -> None:
    async def talk(client: Client) -> None:
        told = await call(client, "paint", prompt=PROMPT, wait=0.1)
        assert told["state"] in ("queued", "running")
        assert (await call(client, "result", id=told["id"]))["state"] == "finished"

    ask(home, talk, toy_studio(home, slow=0.02))


def test_edit_a_picture_given_or_made_before(home: Path) -> None:
    def encoded(image: Image.Image) -> str:
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return base64.b64encode(buffer.getvalue()).decode()

    async def talk(client: Client) -> None:
        mask = Image.new("L", (40, 40))
        mask.paste(255, tuple(edge * 40 // 100 for edge in BALL))
        given = {"picture": encoded(Image.new("RGB", (40, 40), SKY)), "mask": encoded(mask)}
        told = await call(client, "edit", instruction=PROMPT, **given)
        (read,) = (await client.read_resource(told["picture"])).contents
        image = Image.open(io.BytesIO(base64.b64decode(read.blob)))  # type: ignore[union-attr]
        assert image.getpixel((30, 30)) == INK and image.getpixel((5, 5)) == SKY
        again = await call(client, "edit", picture=told["picture"], instruction=PROMPT)
        assert again["state"] == "finished"

    ask(home, talk)


def test_what_cannot_be_done_is_told_in_one_line(home: Path) -> None:
    async def talk(client: Client) -> None:
        assert "error[prompt]" in await refused(client, "paint", prompt="  ")
        assert "error[unknown_creation]" in await refused(client, "status", id="nobody")
        for id in ("../../etc/passwd", "a/b", "", "A"):
            assert "unknown_creation" in await refused(client, "steps", id=id)
        assert "error[input]" in await refused(client, "edit", picture="text", instruction=PROMPT)
        stolen = f"brushloop://creations/../../x/images/{'0' * 64}"
        assert "unknown_creation" in await refused(client, "edit", picture=stolen, instruction=PROMPT)
        assert "wait" in await refused(client, "paint", prompt=PROMPT, wait=-1)
        with pytest.raises(MCPError, match="no creation 'nobody'"):
            await client.read_resource(f"brushloop://creations/nobody/images/{'0' * 64}")

    ask(home, talk)


def test_a_large_picture_comes_small_and_its_whole_as_a_resource() -> None:
    import random

    noise = Image.frombytes("RGB", (900, 900), random.Random(1).randbytes(900 * 900 * 3))
    data, form = small(noise)
    assert len(data) <= INLINE and form == "webp" and Image.open(io.BytesIO(data)).width >= 128
    assert small(Image.new("RGB", (900, 900)))[1] == "png"


def test_over_stdio(home: Path) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import brushloop.agent.studio as studio, fakes\n"
        "studio.open_painter, studio.open_vlm = lambda name: fakes.ToyPainter(), lambda name: fakes.ToyVLM()\n"
        "from brushloop.cli.main import main\n"
        "sys.exit(main(['mcp']))"
    )
    command = ["-c", script, str(ROOT / "tests")]
    environment = {"BRUSHLOOP_HOME": str(home), "OMP_NUM_THREADS": "1"}

    async def talk() -> str:
        async with Client(StdioServerParameters(command=sys.executable, args=command, env=environment)) as client:
            return str((await call(client, "paint", prompt=PROMPT))["id"])

    assert toy_studio(home).open(asyncio.run(talk())).finished


def test_over_http_each_key_sees_its_own(home: Path) -> None:
    server, jobs = create_server(toy_studio(home))
    keys = {"ann": "a" * 20, "bob": "b" * 20}
    jobs.start()

    async def as_(url: str, owner: str, talk: Callable[[Client], Awaitable[None]]) -> None:
        headers = {"Authorization": f"Bearer {keys[owner]}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=30) as http,
            Client(streamable_http_client(f"{url}/mcp", http_client=http)) as client,
        ):
            await talk(client)

    ids: list[str] = []

    async def paints(client: Client) -> None:
        ids.append((await call(client, "paint", prompt=PROMPT))["id"])

    async def looks(client: Client) -> None:
        assert "unknown_creation" in await refused(client, "status", id=ids[0])

    try:
        with running(over_http(server, Rules(keys=keys))) as url:
            asyncio.run(as_(url, "ann", paints))
            asyncio.run(as_(url, "bob", looks))
            assert httpx.post(f"{url}/mcp", json={}).status_code == 401
    finally:
        jobs.close()


def test_over_http_behind_the_guard(home: Path) -> None:
    server, jobs = create_server(Studio(ToyPainter(), ToyVLM(), home))
    jobs.start()
    try:
        with running(over_http(server, Rules())) as url:

            async def talk() -> dict[str, Any]:
                async with Client(f"{url}/mcp") as client:
                    return await call(client, "paint", prompt=PROMPT)

            assert asyncio.run(talk())["state"] == "finished"
            for header in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
                assert httpx.post(f"{url}/mcp", json={}, headers=header).status_code in (403, 421)
    finally:
        jobs.close()


def test_a_cancellation_that_meets_a_pause_still_ends_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hear = Jobs._hear

    def cancelled_first(jobs: Jobs, id: str, event: Any) -> None:
        if event["type"] == "paused":
            jobs.cancel(id)
        hear(jobs, id, event)

    monkeypatch.setattr(Jobs, "_hear", cancelled_first)

    async def talk(client: Client) -> None:
        slow = await call(client, "start", prompt=PROMPT, pause=["before:draft"])
        assert (await call(client, "result", id=slow["id"]))["stop_reason"] == "cancelled"

    ask(home, talk)
