"""The creations API: what is accepted is recorded first, and everything a page needs can be done over HTTP."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import BALL, INK, SHORT, ToyPainter, ToyVLM
from fastapi.testclient import TestClient
from PIL import Image
from serving import toy_studio

from brushloop import Studio
from brushloop.agent.hold import hold
from brushloop.creation import read_recipe
from brushloop.errors import AwayError, InputError
from brushloop.serve.app import create_app
from brushloop.serve.guard import Rules, rules_for

PROMPT = "a cat and a red ball on a beach"
SKY = (10, 20, 250)
Client = TestClient


def encoded(image: Image.Image, form: str = "PNG") -> str:
    buffer = io.BytesIO()
    image.save(buffer, form)
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.fixture
def client(home: Path) -> Iterator[Client]:
    with TestClient(create_app(toy_studio(home)), base_url="http://localhost") as client:
        yield client


def told(client: Client, id: str, **params: object) -> list[tuple[int, dict[str, Any]]]:
    """The events of a creation, read to the end of the stream."""
    answer = client.get(f"/v1/creations/{id}/events", params=params)
    assert answer.status_code == 200, answer.text
    events = []
    for block in answer.text.replace("\r\n", "\n").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(":"))
        if "data" in fields:
            value = json.loads(fields["data"])
            assert fields["event"] == value["type"]
            events.append((int(fields["id"]), value))
    return events


def submit(client: Client, key: str | None = None, **asked: object) -> dict[str, Any]:
    headers = {"Idempotency-Key": key} if key else {}
    answer = client.post("/v1/creations", json={"prompt": PROMPT, **asked}, headers=headers)
    assert answer.status_code == 202, answer.text
    value: dict[str, Any] = answer.json()
    assert answer.headers["Location"] == f"/v1/creations/{value['id']}"
    return value


def settled(client: Client, id: str) -> dict[str, Any]:
    told(client, id)
    value: dict[str, Any] = client.get(f"/v1/creations/{id}").json()
    return value


def post(client: Client, path: str, code: int = 202, **body: object) -> dict[str, Any]:
    answer = client.post(f"/v1/creations/{path}", json=body)
    assert answer.status_code == code, answer.text
    value: dict[str, Any] = answer.json()
    return value


def test_a_creation_from_submit_to_picture(client: Client, home: Path) -> None:
    made = submit(client, seed=5)
    assert made["state"] in ("queued", "running", "finished") and made["seed"] == 5
    done = settled(client, made["id"])
    assert (done["state"], done["stop_reason"]) == ("finished", "accepted")
    picture = client.get(done["picture"]["url"])
    assert picture.headers["content-type"] == "image/png" and "immutable" in picture.headers["cache-control"]
    assert Image.open(io.BytesIO(picture.content)).size == (40, 40)
    assert client.get(f"/v1/creations/{made['id']}/image").content == picture.content
    thumbnail = client.get(done["picture"]["url"], params={"width": 16, "format": "webp"})
    small = Image.open(io.BytesIO(thumbnail.content))
    assert (small.format, small.size) == ("WEBP", (16, 16))
    direct = Studio(ToyPainter(), ToyVLM(), home / "direct").paint(PROMPT, 5)
    assert done["head"] == direct.head, "the same steps, byte for byte, as without a server"


def test_events_tell_all_of_the_chain_once_and_in_order(client: Client) -> None:
    id = submit(client)["id"]
    events = told(client, id)
    assert [number for number, _ in events] == list(range(1, len(events) + 1))
    kinds = [event["type"] for _, event in events]
    assert (kinds[0], kinds[-1]) == ("queued", "done") and kinds.count("denoise") == 16
    steps = client.get(f"/v1/creations/{id}/steps").json()["data"]
    assert [event["hash"] for _, event in events if event["type"] == "step"] == [step["hash"] for step in steps]
    for step in steps:
        event = next(event for _, event in events if event.get("hash") == step["hash"])
        assert {key: event[key] for key in step if key != "number"} == {k: v for k, v in step.items() if k != "number"}
    assert steps[1]["plan"]["steps"] and any(step["critique"] for step in steps)
    assert not {"owner", "request"} & {key for _, event in events for key in event}


def test_the_stream_goes_on_after_the_event_that_was_read_last(client: Client) -> None:
    id = submit(client)["id"]
    events = told(client, id)
    path = f"/v1/creations/{id}/events"
    for number, _ in events[:-1]:
        assert told(client, id, after=number) == events[number:]
        answer = client.get(path, headers={"Last-Event-ID": str(number)})
        assert answer.text.count("event:") == len(events) - number
    assert client.get(path, headers={"Last-Event-ID": str(len(events))}).status_code == 204


def test_the_same_key_is_the_same_creation(client: Client) -> None:
    first, again = submit(client, key="k 1", seed=3), submit(client, key="k 1", seed=3)
    assert first["id"] == again["id"]
    assert submit(client, key="k 2", seed=3)["id"] != first["id"]
    other = client.post("/v1/creations", json={"prompt": PROMPT, "seed": 4}, headers={"Idempotency-Key": "k 1"})
    assert other.status_code == 409 and other.json()["error"]["code"] == "conflict"
    assert len(client.get("/v1/creations").json()["data"]) == 2


def test_many_at_once_with_one_key_are_one(client: Client) -> None:
    ids: list[str] = []
    threads = [threading.Thread(target=lambda: ids.append(submit(client, key="once")["id"])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 8 and len(set(ids)) == 1


def test_pause_look_and_answer(client: Client) -> None:
    id = submit(client, pause=["after:plan", "before:refine"])["id"]
    waits = settled(client, id)
    assert (waits["state"], waits["next"]) == ("waiting", "draft") and waits["plan"]["steps"]
    assert told(client, id)[-1][1]["type"] == "paused"
    stale = client.post(f"/v1/creations/{id}/answer", json={"head": "0" * 64})
    assert stale.status_code == 409 and "moved on" in stale.json()["error"]["message"]
    plan = SHORT.model_dump(mode="json")
    post(client, f"{id}/answer", head=waits["head"], plan=plan)
    done = settled(client, id)
    assert done["state"] == "finished" and len(done["plan"]["steps"]) == 1
    kinds = [step["kind"] for step in client.get(f"/v1/creations/{id}/steps").json()["data"]]
    assert kinds == ["brief", "plan", "human", "draft", "reflect", "finish"]
    assert client.post(f"/v1/creations/{id}/answer", json={}).status_code == 409


def test_a_brushed_mask_says_where_a_correction_applies(client: Client) -> None:
    id = submit(client, pause=["after:reflect"])["id"]
    settled(client, id)
    mask = Image.new("L", (40, 40))
    mask.paste(255, (20, 2, 28, 10))
    mask.paste(0, (20, 2, 22, 4))
    before = Image.open(io.BytesIO(client.get(f"/v1/creations/{id}/image").content)).convert("RGB")
    correction = {"edit": "add", "instruction": "add a kite"}
    post(client, f"{id}/answer", correction=correction, mask=encoded(mask), pause=[])
    assert settled(client, id)["state"] == "finished"
    steps = client.get(f"/v1/creations/{id}/steps").json()["data"]
    human = next(step for step in steps if step["kind"] == "human")
    assert human["critique"]["corrections"][0]["regions"] == [[50, 5, 70, 25]]
    refined = next(step for step in steps[steps.index(human) :] if step["kind"] == "refine")
    after = Image.open(io.BytesIO(client.get(refined["picture"]["url"]).content)).convert("RGB")
    assert after.getpixel((24, 6)) == INK, "painted where the mask is white"
    assert after.getpixel((20, 2)) == before.getpixel((20, 2)) != INK, "and not beside it, though within its box"


def test_an_answer_is_one_thing(client: Client) -> None:
    id = submit(client, pause=["after:reflect"])["id"]
    settled(client, id)
    both = {"plan": SHORT.model_dump(mode="json"), "picture": encoded(Image.new("RGB", (40, 40)))}
    assert client.post(f"/v1/creations/{id}/answer", json=both).status_code == 400
    assert client.post(f"/v1/creations/{id}/answer", json={"mask": "AAAA"}).status_code == 400
    assert settled(client, id)["state"] == "waiting", "what is refused changes nothing"
    post(client, f"{id}/answer", picture=encoded(Image.new("RGB", (80, 80), SKY)), pause=[])
    assert settled(client, id)["state"] == "finished"


@pytest.fixture
def slow(home: Path) -> Iterator[tuple[Client, threading.Event, Callable[[], None]]]:
    """A client of a painter that holds still in its third denoising step until it is let go."""
    held, go = threading.Event(), threading.Event()

    def during(done: int) -> None:
        if done == 3:
            held.set()
            go.wait(60)

    studio = Studio(ToyPainter(during=during), ToyVLM(), home)
    with TestClient(create_app(studio), base_url="http://localhost") as client:
        yield client, held, go.set
        go.set()


def test_progress_interrupt_and_cancel(slow: tuple[Client, threading.Event, Callable[[], None]]) -> None:
    client, held, go = slow
    id, waits = submit(client)["id"], submit(client)["id"]
    held.wait(60)
    now = client.get(f"/v1/creations/{id}").json()
    assert now["state"] == "running" and now["progress"]["node"] == "draft" and now["progress"]["total"] >= 8
    assert client.get(f"/v1/creations/{waits}").json()["state"] == "queued"
    assert client.post(f"/v1/creations/{id}/answer", json={}).status_code == 409, "it is in work"
    post(client, f"{id}/interrupt")
    go()
    stands = settled(client, id)
    assert (stands["state"], stands["next"]) == ("waiting", "reflect") and stands["picture"]
    post(client, f"{id}/interrupt")
    post(client, f"{id}/cancel", 200)
    done = settled(client, id)
    assert (done["state"], done["stop_reason"]) == ("finished", "cancelled")
    assert done["picture"]["hash"] == stands["picture"]["hash"], "the best there was"
    assert post(client, f"{id}/cancel", 200) == done, "it stays as it is"
    post(client, f"{id}/resume")
    assert settled(client, id)["stop_reason"] == "accepted"
    assert client.post(f"/v1/creations/{id}/resume", json={}).status_code == 409
    assert settled(client, waits)["stop_reason"] == "accepted"


def test_cancel_in_the_middle_of_a_picture(slow: tuple[Client, threading.Event, Callable[[], None]]) -> None:
    client, held, go = slow
    id = submit(client)["id"]
    held.wait(60)
    threading.Timer(0.2, go).start()
    post(client, f"{id}/cancel", 200)
    done = settled(client, id)
    assert (done["state"], done["stop_reason"], done["picture"]) == ("finished", "cancelled", None)
    assert client.get(f"/v1/creations/{id}/image").status_code == 404


def test_fork_tree_gallery_and_export(client: Client, tmp_path: Path) -> None:
    first = settled(client, submit(client, seed=5)["id"])
    forked = post(client, f"{first['id']}/fork", at="2", seed=9)
    again = settled(client, post(client, f"{forked['id']}/fork", prompt="a cat on a beach")["id"])
    other = submit(client)["id"]
    settled(client, other)
    tree = client.get(f"/v1/creations/{again['id']}/tree").json()["data"]
    assert [member["id"] for member in tree] == [first["id"], forked["id"], again["id"]]
    assert [(m["forked_from"] or {}).get("creation") for m in tree] == [None, first["id"], forked["id"]]
    assert [event["type"] for _, event in told(client, again["id"])].count("step") == again["steps"]
    page = client.get("/v1/creations", params={"limit": 3}).json()
    assert page["has_more"] and [each["id"] for each in page["data"]] == [other, again["id"], forked["id"]]
    rest = client.get("/v1/creations", params={"limit": 3, "after": forked["id"]}).json()
    assert [each["id"] for each in rest["data"]] == [first["id"]] and not rest["has_more"]
    stale = client.post(f"/v1/creations/{first['id']}/fork", json={"at": other})
    assert stale.status_code == 404 and "has no step" in stale.json()["error"]["message"]
    for form in ("png", "html", "json"):
        file = client.get(f"/v1/creations/{first['id']}/export", params={"format": form})
        assert file.status_code == 200 and f'{first["id"]}.{form}"' in file.headers["content-disposition"]
        (tmp_path / f"x.{form}").write_bytes(file.content)
    assert read_recipe(tmp_path / "x.png").id == first["id"]
    assert len(json.loads((tmp_path / "x.json").read_text())["steps"]) == first["steps"]


def test_a_picture_of_another_creation_is_not_shown(client: Client) -> None:
    mine, other = submit(client)["id"], settled(client, submit(client, seed=1, budget={"rounds": 1})["id"])
    settled(client, mine)
    edit = submit(client, picture=encoded(Image.new("RGB", (40, 40), SKY)), budget={"rounds": 1})
    sky = settled(client, edit["id"])["id"]
    given = client.get(f"/v1/creations/{sky}/steps").json()["data"][0]["picture"]
    assert client.get(given["url"]).status_code == 200
    assert client.get(f"/v1/creations/{other['id']}/images/{given['hash']}").status_code == 404


def test_edit_a_picture_within_a_mask(client: Client) -> None:
    mask = Image.new("L", (80, 80))
    mask.paste(255, tuple(edge * 80 // 100 for edge in BALL))
    picture = "data:image/png;base64," + encoded(Image.new("RGB", (80, 80), SKY))
    asked = {"picture": picture, "mask": encoded(mask), "budget": {"rounds": 4}}
    id = submit(client, **asked)["id"]
    assert settled(client, id)["task"] == "edit"
    image = Image.open(io.BytesIO(client.get(f"/v1/creations/{id}/image").content))
    assert image.getpixel((30, 30)) == INK and image.getpixel((5, 5)) == SKY


def test_one_painted_without_a_server_is_watched_and_resumed(client: Client, home: Path) -> None:
    studio = toy_studio(home)
    done, left = studio.paint(PROMPT), studio.paint(PROMPT, 1, pause=["after:draft"])
    assert [event["hash"] for _, event in told(client, done.id)] == done.hashes
    assert client.get(f"/v1/creations/{done.id}").json()["state"] == "finished"
    assert client.get(f"/v1/creations/{left.id}").json()["state"] == "unfinished"
    post(client, f"{left.id}/resume", pause=["before:draft"])
    assert settled(client, left.id)["state"] == "waiting"
    studio.resume(left.id)
    assert client.get(f"/v1/creations/{left.id}").json()["state"] == "finished", "the chain has the last word"
    hashes = [event["hash"] for _, event in told(client, left.id) if event["type"] == "step"]
    assert hashes == studio.open(left.id).hashes
    page = client.get(f"/v1/creations/{done.id}/steps", params={"first": 2, "limit": 3}).json()
    assert [step["number"] for step in page["data"]] == [2, 3, 4] and page["has_more"]


def test_a_model_that_fails_is_told_and_the_creation_goes_on_later(home: Path) -> None:
    vlm = ToyVLM()
    broken: list[Exception] = [AwayError("the model server is away"), RuntimeError("odd")]
    ask = vlm.ask
    vlm.ask = lambda question: (_ for _ in ()).throw(broken.pop()) if broken else ask(question)  # type: ignore[method-assign]
    with TestClient(create_app(Studio(ToyPainter(), vlm, home)), base_url="http://localhost") as client:
        id = submit(client)["id"]
        failed = settled(client, id)
        assert failed["state"] == "failed" and failed["error"]["code"] == "unexpected"
        assert "odd" not in failed["error"]["message"], "what is not ours to tell stays in the server's log"
        broken.clear()
        post(client, f"{id}/resume")
        assert settled(client, id)["state"] == "finished"


def test_what_was_accepted_goes_on_after_a_restart(home: Path) -> None:
    held, go = threading.Event(), threading.Event()

    def during(done: int) -> None:
        held.set()
        go.wait(60)

    with TestClient(create_app(Studio(ToyPainter(during=during), ToyVLM(), home)), base_url="http://localhost") as one:
        ids = [submit(one, seed=seed)["id"] for seed in range(3)]
        held.wait(60)
        threading.Timer(0.2, go.set).start()
    with TestClient(create_app(toy_studio(home)), base_url="http://localhost") as two:
        done = [settled(two, id) for id in ids]
        numbers = [number for number, _ in told(two, ids[0])]
    assert [each["stop_reason"] for each in done] == ["accepted"] * 3
    assert numbers == list(range(1, len(numbers) + 1))
    for seed, each in enumerate(done):
        direct = Studio(ToyPainter(), ToyVLM(), home / "direct").paint(PROMPT, seed)
        assert each["head"] == direct.head


def test_what_somebody_else_still_holds_stays_accepted(home: Path) -> None:
    """As after a machine was cut off: its lock is let go late. Others are not kept waiting."""
    made = toy_studio(home)
    with hold(made.store, "key-held"), TestClient(create_app(made), base_url="http://localhost") as client:
        jobs = client.app.state.jobs  # type: ignore[attr-defined]
        jobs.submit(lambda _: made.begin(PROMPT, id="key-held"))
        assert settled(client, submit(client, seed=1)["id"])["state"] == "finished"
        time.sleep(3)  # longer than who asks waits in vain
        assert client.get("/v1/creations/key-held").json()["state"] == "running"
    with TestClient(create_app(toy_studio(home)), base_url="http://localhost") as client:
        assert settled(client, "key-held")["state"] == "finished"
        kinds = [event["type"] for _, event in told(client, "key-held")]
        assert kinds.count("running") == 1 and "failed" not in kinds


def test_bad_input_is_told_with_a_code(client: Client) -> None:
    id = settled(client, submit(client)["id"])["id"]
    before = len(client.get("/v1/creations").json()["data"])
    cases: list[tuple[int, str, dict[str, Any]]] = [
        (422, "/v1/creations", {"json": {}}),
        (422, "/v1/creations", {"json": {"prompt": PROMPT, "colour": 1}}),
        (422, "/v1/creations", {"json": {"prompt": PROMPT, "seed": -1}}),
        (422, "/v1/creations", {"content": b"{", "headers": {"Content-Type": "application/json"}}),
        (422, "/v1/creations", {"content": b'{"prompt": "x"}', "headers": {"Content-Type": "text/plain"}}),
        (400, "/v1/creations", {"json": {"prompt": "   "}}),
        (400, "/v1/creations", {"json": {"prompt": "a\u0000b"}}),
        (400, "/v1/creations", {"json": {"prompt": PROMPT, "size": [41, 40]}}),
        (400, "/v1/creations", {"json": {"prompt": PROMPT, "pause": ["before:lunch"]}}),
        (400, "/v1/creations", {"json": {"prompt": PROMPT, "picture": "no base64!"}}),
        (400, "/v1/creations", {"json": {"prompt": PROMPT, "picture": base64.b64encode(b"text").decode()}}),
        (400, "/v1/creations", {"json": {"prompt": PROMPT, "mask": encoded(Image.new("L", (4, 4), 255))}}),
        (422, "/v1/creations", {"content": b'{"prompt": "\\ud800"}', "headers": {"Content-Type": "application/json"}}),
        (404, "/v1/creations/nobody/cancel", {}),
        (404, "/v1/creations/nobody/fork", {"json": {}}),
        (404, f"/v1/creations/{id}/fork", {"json": {"at": "999"}}),
        (404, f"/v1/creations/{id}/fork", {"json": {"at": "../../etc/passwd"}}),
        (404, "/v1/nowhere", {}),
    ]
    for code, path, sent in cases:
        answer = client.post(path, **sent)
        assert answer.status_code == code, (path, sent, answer.text)
        error = answer.json()["error"]
        assert error["code"] and error["message"] and "\n" not in error["message"]
    assert len(client.get("/v1/creations").json()["data"]) == before, "what is refused is not recorded"


@pytest.mark.parametrize("id", ["..%2F..%2Fetc", "%2e%2e", "a%2Fb", "A", "x" * 65, "a%00b", "%F0%9F%98%80", ".hidden"])
def test_ids_that_look_like_paths_are_refused(client: Client, home: Path, id: str) -> None:
    before = sorted(home.rglob("*"))
    for path in ("", "/events", "/steps", "/image", "/export", "/images/..%2Fx"):
        assert client.get(f"/v1/creations/{id}{path}").status_code in (404, 422)
    assert sorted(home.rglob("*")) == before


def test_only_known_hosts_and_pages_may_call(client: Client) -> None:
    assert client.get("/v1/health").json()["status"] == "ok"
    for host in ("evil.example", "127.0.0.1.evil.example", "", "[::1"):
        answer = client.get("/v1/health", headers={"Host": host})
        assert answer.status_code == 421 and answer.json()["error"]["code"] == "host"
    for host in ("127.0.0.1:8765", "[::1]:8765", "LOCALHOST"):
        assert client.get("/v1/health", headers={"Host": host}).status_code == 200
    for origin in ("https://evil.example", "null", "http://localhost:1"):
        answer = client.post("/v1/creations", json={"prompt": PROMPT}, headers={"Origin": origin})
        assert answer.status_code == 403 and answer.json()["error"]["code"] == "origin"
    assert client.get("/v1/creations").json()["data"] == []
    submit_from = client.post("/v1/creations", json={"prompt": PROMPT}, headers={"Origin": "http://localhost"})
    assert submit_from.status_code == 202


def test_uploads_have_a_limit(home: Path) -> None:
    with TestClient(create_app(toy_studio(home), Rules(upload=5_000)), base_url="http://localhost") as client:
        large = client.post("/v1/creations", content=b"x" * 5_001, headers={"Content-Type": "application/json"})
        assert large.status_code == 413 and large.json()["error"]["code"] == "too_large"
        pieces = client.post("/v1/creations", content=(b"x" * 1_000 for _ in range(9)))
        assert pieces.status_code == 413


def test_each_owner_sees_their_own(home: Path) -> None:
    keys = {"": "k" * 20, "ann": "a" * 20, "bob": "b" * 20}
    with TestClient(create_app(toy_studio(home), Rules(keys=keys)), base_url="http://localhost") as client:

        def as_(key: str) -> dict[str, str]:
            return {"Authorization": f"Bearer {key}"}

        assert client.get("/v1/creations").status_code == 401
        assert client.get("/v1/creations", headers=as_("wrong")).status_code == 401
        assert client.get("/v1/health").status_code == 200
        same = {"Idempotency-Key": "1"}
        made = {
            name: client.post("/v1/creations", json={"prompt": PROMPT}, headers=as_(key) | same).json()["id"]
            for name, key in keys.items()
        }
        assert len(set(made.values())) == 3, "one's Idempotency-Key is not another's"
        for path in ("", "/events", "/steps", "/image", "/tree", "/export"):
            assert client.get(f"/v1/creations/{made['ann']}{path}", headers=as_(keys["bob"])).status_code == 404
        for path in ("cancel", "fork", "answer", "resume", "interrupt"):
            answer = client.post(f"/v1/creations/{made['ann']}/{path}", json={}, headers=as_(keys["bob"]))
            assert answer.status_code == 404 and "no creation" in answer.json()["error"]["message"]
        listed = client.get("/v1/creations", headers=as_(keys["ann"])).json()["data"]
        assert [each["id"] for each in listed] == [made["ann"]]
        assert len(client.get("/v1/creations", headers=as_(keys[""])).json()["data"]) == 3
        assert client.post("/v1/session", json={"key": "wrong"}).status_code == 401
        cookie = client.post("/v1/session", json={"key": keys["ann"]}).headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=strict" in cookie
        assert client.get(f"/v1/creations/{made['ann']}").status_code == 200, "the cookie is a key, too"


def test_other_addresses_need_a_key() -> None:
    for host in ("0.0.0.0", "::", "192.168.1.4", "example.org"):
        with pytest.raises(InputError, match="BRUSHLOOP_API_KEY"):
            rules_for(host, [], [], [], 1000)
        assert rules_for(host, ["x" * 16], [], [], 1000).keys == {"": "x" * 16}
    for host in ("127.0.0.1", "localhost", "::1", "127.9.9.9"):
        assert not rules_for(host, [], [], [], 1000).keys
    with pytest.raises(InputError, match="shorter than 16"):
        rules_for("127.0.0.1", ["ann=short"], [], [], 1000)


def test_the_description_has_examples_and_names_every_error(client: Client) -> None:
    schema = client.get("/openapi.json").json()
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            assert operation.get("summary") and (operation.get("description") or "health" in path), (path, method)
    values = schema["components"]["schemas"]
    bodies = [
        operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        for methods in schema["paths"].values()
        for operation in methods.values()
        if "application/json" in operation.get("requestBody", {}).get("content", {})
    ]
    assert len(bodies) >= 7 and all(values[name]["examples"] for name in [*bodies, "CreationView", "Failure"]), bodies


def test_about_tells_what_can_be_asked(client: Client) -> None:
    about = client.get("/v1/about").json()
    assert about["size"] == [40, 40] and "refine" in about["nodes"]
    assert {"add", "style"} <= {edit["name"] for edit in about["edits"]}, "a painter that names none may be asked any"
    assert [model["id"] for model in client.get("/v1/models").json()["data"]] == ["toy-painter", "toy-vlm"]
