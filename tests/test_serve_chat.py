"""A conversation over HTTP: turns are accepted, worked on and told as any other work, to the bytes of `Studio.chat`."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from fakes import SHORT, ToyPainter
from fastapi.testclient import TestClient
from serving import toy_studio
from test_chat import Knowing
from test_serve import PROMPT, post, settled, submit, told

from brushloop import Studio
from brushloop.agent.chat import pictures
from brushloop.serve.app import create_app
from brushloop.serve.guard import Rules

TURN = "add a kite, remove the cat and make the ball blue"


def talking(home: Path, painter: ToyPainter | None = None) -> Studio:
    return Studio(painter or ToyPainter(), Knowing([SHORT]), home)


def served(studio: Studio, rules: Rules | None = None) -> TestClient:
    return TestClient(create_app(studio, rules), base_url="http://localhost")


def test_turns_are_told_once_in_order_and_make_the_same_bytes(home: Path) -> None:
    with served(talking(home)) as client:
        id = settled(client, submit(client, seed=3)["id"])["id"]
        heard = len(told(client, id))
        there = post(client, f"{id}/chat", said=TURN)
        assert there["id"] == id
        done = settled(client, id)
        assert (done["state"], done["stop_reason"], done["prompt"]) == ("finished", "accepted", PROMPT)
        events = told(client, id)
        assert [number for number, _ in events] == list(range(1, len(events) + 1))
        new = [told["type"] for _, told in events[heard:] if told["type"] not in ("denoise", "step")]
        assert new == ["queued", "running", "done"]
        hashes = [event["hash"] for _, event in events if event["type"] == "step"]
        steps = client.get(f"/v1/creations/{id}/steps").json()["data"]
        assert hashes == [step["hash"] for step in steps], "each step once, in the order of the chain"
        turns = client.get(f"/v1/creations/{id}/chat").json()["data"]
        assert [(turn["number"], turn["said"], turn["base"]) for turn in turns] == [(1, PROMPT, 0), (2, TURN, 1)]
        assert turns[-1]["picture"] == done["picture"] and turns[-1]["step"] == done["head"]
    direct = talking(home / "direct")
    assert done["head"] == direct.chat(TURN, direct.paint(PROMPT, 3).id).head


def test_going_back_is_another_creation_of_the_same_owner(home: Path) -> None:
    with served(talking(home), Rules(keys={"ann": "a" * 20, "bob": "b" * 20})) as client:
        client.headers["Authorization"] = f"Bearer {'a' * 20}"
        id = settled(client, submit(client)["id"])["id"]
        post(client, f"{id}/chat", said="remove the cat")
        two = settled(client, id)
        answer = client.post(f"/v1/creations/{id}/chat", json={"said": "undo"})
        back = settled(client, answer.json()["id"])
        assert back["id"] != id and answer.headers["Location"] == f"/v1/creations/{back['id']}"
        assert back["state"] == "finished" and back["steps"] < two["steps"]
        assert client.get(f"/v1/creations/{id}").json()["head"] == two["head"], "and the first stays as it is"
        post(client, f"{back['id']}/chat", said="make the cat blue")
        assert settled(client, back["id"])["plan"]["elements"][1]["color"] == "blue"
        client.headers["Authorization"] = f"Bearer {'b' * 20}"
        for asked in (client.get(f"/v1/creations/{id}/chat"), client.get(f"/v1/creations/{back['id']}")):
            assert asked.status_code == 404
        assert client.post(f"/v1/creations/{id}/chat", json={"said": "undo"}).status_code == 404


def test_what_cannot_be_done_leaves_the_creation_as_it_was(home: Path) -> None:
    with served(toy_studio(home)) as client:
        id = settled(client, submit(client)["id"])["id"]
        before = settled(client, id)
        for code, said in ((400, "remove the zebra"), (400, "the ninth one"), (422, ""), (400, " . ")):
            assert client.post(f"/v1/creations/{id}/chat", json={"said": said}).status_code == code, said
        post(client, f"{id}/chat", 409, said="remove the cat", head="0" * 64)
        waits = settled(client, submit(client, pause=["after:plan"])["id"])["id"]
        post(client, f"{waits}/chat", 400, said="remove the cat")
        assert settled(client, id) == before
        post(client, f"{id}/chat", said="add a kite")  # this model answers with a plan of several things
        refused = settled(client, id)
        assert (refused["state"], refused["error"]["code"], refused["head"]) == ("finished", "input", before["head"])
        assert "several things" in refused["error"]["message"] and told(client, id)[-1][1]["type"] == "refused"
        post(client, f"{id}/chat", said="make the cat blue")
        assert settled(client, id)["error"] is None and settled(client, id)["steps"] > before["steps"]


@pytest.mark.parametrize("wish", [1, 3])
def test_a_turn_goes_on_after_a_restart_whichever_wish_it_was_at(home: Path, wish: int) -> None:
    held, go, began = threading.Event(), threading.Event(), []

    def during(done: int) -> None:
        if done == 1:
            began.append(done)
        if len(began) == 1 + wish and not go.is_set():
            held.set()
            go.wait(60)

    with served(talking(home, ToyPainter(during=during))) as one:
        id = settled(one, submit(one)["id"])["id"]
        post(one, f"{id}/chat", said=TURN, head=one.get(f"/v1/creations/{id}").json()["head"])
        assert held.wait(60)
        threading.Timer(0.2, go.set).start()
    with served(talking(home)) as two:
        done = settled(two, id)
        numbers = [number for number, _ in told(two, id)]
    assert numbers == list(range(1, len(numbers) + 1))
    direct = talking(home / "direct")
    assert done["head"] == direct.chat(TURN, direct.paint(PROMPT).id).head


def test_a_turn_of_several_wishes_is_resumed_to_its_end(home: Path) -> None:
    studio = talking(home)
    id = studio.paint(PROMPT).id
    begun = studio.chat(TURN, id, pause=["before:refine"])
    assert not begun.finished
    done = studio.resume(id)
    direct = talking(home / "direct")
    assert done.head == direct.chat(TURN, direct.paint(PROMPT).id).head
    assert len(pictures(done)) == 2 and studio.resume(id).head == done.head
