"""A model behind a server: what it is sent, how its replies are read, and everything that a server can do instead."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Sequence
from typing import Any

import pytest
from fakes import PLAN, SHORT, ToyPainter, look
from PIL import Image
from servers import Answer, ChatServer, breaks, chunk, half, hangs_up, says, torn

from brushloop import Studio
from brushloop.canvas import Brief, Plan, StepKind, StopReason
from brushloop.critic.critic import Critic
from brushloop.errors import AwayError, BackendError, BrushloopError, ContextError, InputError, ReplyError, ServerError
from brushloop.planner.planner import Planner
from brushloop.planner.prompt import instructions, plan_schema
from brushloop.vlm import Question, Reply, ask, open_vlm
from brushloop.vlm_openai import ServedVLM

PICTURE = Image.new("RGB", (40, 40), (10, 200, 30))
QUESTION = Question("plan: a cat", plan_schema(), max_tokens=500)
GOOD = PLAN.model_dump_json()


def vlm(server: ChatServer) -> ServedVLM:
    return ServedVLM(server.name.removeprefix("openai:"), pause=lambda seconds: None)


def reply(*answers: Answer, question: Question = QUESTION) -> Reply:
    with ChatServer(answers).running() as server:
        return vlm(server).ask(question)


# What it is sent, and what is read


def test_a_question_as_it_goes_over_the_wire() -> None:
    with ChatServer([says('{"a": 1}')]).running() as server:
        model = open_vlm(server.name)
        question = Question(
            "look: a cat", {"type": "object"}, (PICTURE, PICTURE), 77, seed=2**40 + 5, instructions="Answer in JSON."
        )
        got = model.ask(question)
    (sent,) = server.asked
    system, user = sent["messages"]
    assert system == {"role": "system", "content": "Answer in JSON."}
    assert user["content"][0] == {"type": "text", "text": "look: a cat"}, "words first: they are the same next time"
    urls = [part["image_url"]["url"] for part in user["content"][1:]]
    picture = Image.open(io.BytesIO(base64.b64decode(urls[0].removeprefix("data:image/png;base64,"))))
    assert len(urls) == 2 and picture.tobytes() == PICTURE.tobytes()
    assert sent["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "reply", "schema": {"type": "object"}},
    }
    assert (sent["model"], sent["max_tokens"], sent["temperature"], sent["seed"]) == ("toy", 77, 0.0, 5)
    assert sent["logprobs"] is True and sent["stream"] is True
    assert (got.text, got.cut, got.refusal) == ('{"a": 1}', False, "")
    assert [(token.text, token.logprob) for token in got.tokens] == [('{"a', -0.25), ('": ', -0.25), ("1}", -0.25)]
    assert (got.tokens_in, got.tokens_cached, got.tokens_out) == (50, 32, 3)
    assert model.ref.id == server.name and model.unknown_words("zxy") == ()


def test_a_key_is_sent_and_never_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRUSHLOOP_VLM_KEY", "secret")
    with ChatServer([says(GOOD)]).running() as server:
        assert "secret" not in vlm(server).ref.id
    assert server.keys == ["Bearer secret"]


def test_letters_split_between_tokens_are_joined() -> None:
    parts = "äpfel 🍎".encode()
    chunks = []
    for one, text in ((parts[:1], "\ufffd"), (parts[1:9], "äpfel \ufffd"), (parts[9:], "\ufffd")):
        part = chunk({"content": text}, logprob=-1.0)
        part["choices"][0]["logprobs"]["content"][0]["bytes"] = list(one)
        part["choices"][0]["delta"]["content"] = {1: "", 8: "äpfel "}.get(len(one), "🍎")
        chunks.append(part)
    got = reply(lambda handler, _: handler.chunks(*chunks, chunk({}, "stop")))
    assert got.text == "".join(token.text for token in got.tokens) == "äpfel 🍎"


def test_the_model_may_be_left_out_if_there_is_one() -> None:
    with ChatServer([says(GOOD)]).running() as server:
        assert open_vlm(server.name.removesuffix("#toy")).ref.id == server.name
    with ChatServer([says(GOOD)], models=("a", "b")).running() as server, pytest.raises(ServerError, match="2 models"):
        open_vlm(server.name.removesuffix("#toy"))


def test_a_critic_is_as_sure_as_the_server_says() -> None:
    text = json.dumps(look("present", "missing", "present"))
    with ChatServer([says(text)]).running() as server:
        critique = Critic(vlm(server)).reflect(Brief(prompt="x"), SHORT, 0, PICTURE).value
    assert all(0 < (finding.score or 0) < 1 for finding in critique.findings)
    assert "close-ups" in server.asked[0]["messages"][0]["content"]


@pytest.mark.parametrize(
    ("word", "gone"),
    [("logprobs", "logprobs"), ("seed", "seed"), ("stream_options", "stream_options")],
)
def test_what_a_server_does_not_know_is_left_out(word: str, gone: str) -> None:
    with ChatServer([breaks(400, f"unknown parameter: {word}"), says(GOOD)]).running() as server:
        model = vlm(server)
        assert model.ask(QUESTION).text == model.ask(QUESTION).text == GOOD
    assert [gone in sent for sent in server.asked] == [True, False, False]


def test_without_schema_support_the_schema_is_told_in_words() -> None:
    fenced = says(f"```json\n{GOOD}\n```")
    with ChatServer([breaks(400, "response_format is not supported"), fenced]).running() as server:
        plan = Planner(vlm(server)).plan(Brief(prompt="a cat")).value
    assert plan == PLAN
    assert "JSON schema" in server.asked[1]["messages"][0]["content"]


def test_without_a_system_turn_the_instructions_come_first() -> None:
    with ChatServer([breaks(400, "System role not supported"), says(GOOD)]).running() as server:
        Planner(vlm(server)).plan(Brief(prompt="a cat"))
    (user,) = server.asked[1]["messages"]
    assert user["role"] == "user" and user["content"][0]["text"] == instructions()


def test_a_token_limit_beyond_the_context_is_left_to_the_server() -> None:
    too_long = breaks(400, "This model's maximum context length is 1024 tokens. However, you requested 1100 tokens")
    with ChatServer([too_long, says(GOOD)]).running() as server:
        assert vlm(server).ask(QUESTION).text == GOOD
    assert "max_tokens" not in server.asked[1]
    with pytest.raises(ContextError, match="does not fit into the context"):
        reply(too_long)


def test_a_babbling_model_is_stopped_at_the_limit() -> None:
    got = reply(says("a b " * 9000), question=Question("x", {}, max_tokens=40))
    assert got.cut and got.tokens_out <= 41


# What a server can do instead


@pytest.mark.parametrize(
    "trouble",
    [
        breaks(503, "loading"),
        breaks(429, "slow down"),
        breaks(500, "oops"),
        breaks(502, b"<html><h1>Bad gateway</h1></html>", "text/html"),
        breaks(200, b"<html>Welcome</html>", "text/html"),
        breaks(200, b"\xff\xfe{{{", "text/event-stream"),
        breaks(200, b"data: {]\n\n", "text/event-stream"),
        hangs_up,
        half,
        torn,
    ],
    ids=["503", "429", "500", "502 page", "200 page", "bytes", "broken json", "hangs up", "half a stream", "torn"],
)
def test_a_hiccup_is_tried_again_and_a_lasting_one_is_told(trouble: Answer) -> None:
    assert reply(trouble, trouble, says(GOOD)).text == GOOD
    with pytest.raises(AwayError) as told:
        reply(trouble)
    assert_clear(told.value)
    assert "127.0.0.1" in str(told.value) and "resume" in str(told.value)


@pytest.mark.parametrize(
    ("trouble", "error", "words"),
    [
        (breaks(401, "bad key"), ServerError, "refuses the key .*BRUSHLOOP_VLM_KEY"),
        (breaks(404, "The model `toy` does not exist."), ServerError, "has no model 'toy'"),
        (breaks(400, "At most 1 image(s) may be provided in one prompt."), ServerError, "refuses the picture"),
        (breaks(413, b"<html>too large</html>", "text/html"), ServerError, "refuses the question .413: no reason"),
        (breaks(400, {"odd": "shape"}), ServerError, "refuses the question"),
        (breaks(400, "a\x1b[31m\n" + "b" * 9000), ServerError, "refuses the question"),
        (breaks(400, "the input exceeds max_model_len"), ContextError, "--max-model-len"),
    ],
)
def test_a_refusal_is_told_at_once(trouble: Answer, error: type[BrushloopError], words: str) -> None:
    with pytest.raises(error, match=words) as told:
        reply(trouble, question=Question("look: x", {}, (PICTURE,)))
    assert_clear(told.value)


@pytest.mark.parametrize(
    ("lists", "error", "words"),
    [
        (breaks(401, "who are you?"), ServerError, "refuses the key"),
        (breaks(503, "loading"), AwayError, "answers 503"),
        (breaks(200, b"<html>Welcome</html>", "text/html"), ServerError, "is no model server"),
        (breaks(200, b'{"data": 7}'), ServerError, "is no model server"),
        (breaks(200, b'{"data": [{"object": "model"}]}'), ServerError, "is no model server"),
        (breaks(200, b'{"data": [{"id": "ot'), ServerError, "is no model server"),
        (hangs_up, AwayError, "cannot be reached"),
    ],
    ids=["401", "503", "page", "number", "no id", "half", "hangs up"],
)
def test_what_is_wrong_shows_when_it_is_opened(lists: Answer, error: type[BrushloopError], words: str) -> None:
    with ChatServer([says(GOOD)], lists=lists).running() as server, pytest.raises(error, match=words) as told:
        vlm(server)
    assert_clear(told.value)


def test_another_models_name_is_told_with_those_there_are() -> None:
    words = "has no model 'toy': it has llava, qwen"
    with (
        ChatServer([says(GOOD)], models=("llava", "qwen")).running() as server,
        pytest.raises(ServerError, match=words),
    ):
        vlm(server)
    with ChatServer([says(GOOD)], lists=breaks(404, "no such page")).running() as server:
        assert vlm(server).ask(QUESTION).text == GOOD, "a server that keeps no list is believed"


@pytest.mark.parametrize(
    "where",
    ["", "127.0.0.1:8000#m", "ftp://x/v1#m", "http://#m", "http://x:99999999/v1#m", "http://[::1/v1#m", "nonsense"],
)
def test_what_is_no_url(where: str) -> None:
    with pytest.raises((InputError, BackendError)) as told:
        open_vlm(f"openai:{where}")
    assert_clear(told.value)


def test_a_url_with_a_secret_is_refused_before_it_is_recorded() -> None:
    for where in ("http://me:secret@127.0.0.1:1/v1#m", "http://127.0.0.1:1/v1?key=secret#m"):
        with pytest.raises(InputError, match="BRUSHLOOP_VLM_KEY") as told:
            open_vlm(f"openai:{where}")
        assert "secret" not in str(told.value)


def test_seconds_are_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("soon", "-1", "nan", "inf", "0"):
        monkeypatch.setenv("BRUSHLOOP_VLM_TIMEOUT", value)
        with pytest.raises(InputError, match="BRUSHLOOP_VLM_TIMEOUT"):
            ServedVLM("http://127.0.0.1:9/v1#m")


def test_a_silent_server_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRUSHLOOP_VLM_TIMEOUT", "0.1")
    with pytest.raises(AwayError, match="does not answer in time"):
        reply(lambda handler, _: time.sleep(0.5))


# In the loop


LOOKS = [json.dumps(look("present", "present", "present", verdict="accept"))]


def test_a_whole_picture_through_a_server() -> None:
    with ChatServer([says(SHORT.model_dump_json()), says(LOOKS[0])]).running() as server:
        creation = Studio(ToyPainter(), server.name).paint("a cat")
    assert creation.stop_reason is StopReason.STALLED or creation.finished
    plan = next(digest for digest, step in creation.store.chain(creation.head) if step.kind is StepKind.PLAN)
    cost = creation.store.measurements(plan)
    assert (cost["tokens_in"], cost["tokens_cached"], cost["replies"]) == (50, 32, 1)
    assert cost["tokens"] == 50 + cost["tokens_out"]


def test_the_loop_waits_for_a_server_that_went_away() -> None:
    heard: list[Any] = []
    answers = [says(SHORT.model_dump_json()), *[breaks(503, "loading")] * 9, says(LOOKS[0])]
    with ChatServer(answers).running() as server:
        creation = Studio(ToyPainter(), vlm(server)).paint("a cat", on_event=heard.append)
    assert creation.finished
    waits = [event for event in heard if event["type"] == "wait"]
    assert [event["seconds"] for event in waits] == [0.5, 1.0] and "503" in waits[0]["why"]


def test_a_server_that_stays_away_leaves_a_creation_to_resume(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRUSHLOOP_VLM_PATIENCE", "0.3")
    server = ChatServer([says(SHORT.model_dump_json()), says(LOOKS[0])])
    with server.running():
        model = vlm(server)
        server.answers = [says(SHORT.model_dump_json()), breaks(503, "gone")]
        studio = Studio(ToyPainter(), model)
        with pytest.raises(AwayError, match="resume"):
            studio.paint("a cat", id="one")
        assert [step.kind.value for step in studio.open("one").steps] == ["brief", "plan", "draft"]
        server.answers = [says(LOOKS[0])]
        creation = studio.resume("one")
    assert creation.finished
    with pytest.raises(AwayError, match="cannot be reached"):
        Studio(ToyPainter(), server.name).paint("a cat", id="two")
    assert "two" not in [head.id for head in studio.store.heads()], "nothing was begun"


def test_waiting_can_be_cancelled() -> None:
    waiting: list[bool] = []
    with ChatServer([says(SHORT.model_dump_json()), breaks(503, "gone")]).running() as server:
        studio = Studio(ToyPainter(), vlm(server))

        def hear(event: Any) -> None:
            waiting.append(event["type"] == "wait")

        creation = studio.paint("a cat", on_event=hear, cancel=lambda: any(waiting))
    assert creation.stop_reason is StopReason.CANCELLED and creation.frame


# Repair


def plans(*texts: str) -> tuple[Plan, Sequence[dict[str, Any]]]:
    with ChatServer([says(text) for text in texts]).running() as server:
        return ask(vlm(server), QUESTION, Plan).value, server.asked


def test_a_reply_that_breaks_the_schema_is_repaired_once() -> None:
    plan, asked = plans('{"elements": [], "steps": []}', GOOD)
    assert plan == PLAN
    text = asked[1]["messages"][0]["content"][0]["text"]
    assert text.startswith("plan: a cat\nYour last reply did not fit the schema (elements: ")
    with pytest.raises(ReplyError, match="answered twice"):
        plans("no", "no", GOOD)


def assert_clear(error: BrushloopError) -> None:
    """One line, not long, in printable letters."""
    text = str(error)
    assert len(text) < 700 and text.isprintable(), text
