"""Content review: a policy sees every text and picture before the next node, and its refusals are in the record."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import INK, PLAN, SHORT, ToyPainter, ToyVLM, add, look
from PIL import Image, ImageDraw

import brushloop.agent.studio as studio_module
from brushloop import Creation, Plan, StopReason, Studio
from brushloop.agent.page import page
from brushloop.agent.review import Ruling
from brushloop.agent.rules import Rule, Rules, difference_hash
from brushloop.canvas import StepKind
from brushloop.cli.main import main
from brushloop.errors import InputError
from brushloop.record import frames_of

PROMPT = "a cat and a red ball on a beach"


@dataclass
class Watch:
    """A policy that writes down what it is shown, and objects to what it is told to."""

    texts: Callable[[str], Ruling | None] = lambda said: None
    pictures: Callable[[int], Ruling | None] = lambda number: None
    said: list[str] = field(default_factory=list)
    seen: list[bytes] = field(default_factory=list)

    def text(self, said: str) -> Ruling | None:
        self.said.append(said)
        return self.texts(said)

    def picture(self, seen: Image.Image) -> Ruling | None:
        self.seen.append(seen.tobytes())
        return self.pictures(len(self.seen))


def studio(policy: Any, **parts: Any) -> Studio:
    return Studio(parts.get("painter") or ToyPainter(), parts.get("vlm") or ToyVLM(), policy=policy)


def kinds(creation: Creation) -> list[str]:
    return [step.kind.value for step in creation.steps]


def test_it_sees_every_text_and_every_picture_before_the_next_node() -> None:
    watch = Watch()
    order: list[str] = []
    watch.texts = lambda said: order.append(said)  # type: ignore[func-returns-value, assignment]
    creation = studio(watch).paint(PROMPT, on_event=lambda event: order.append(f"event {event['type']}"))
    painted = [frame for step in creation.steps for frame in step.outputs if step.kind is not StepKind.FINISH]
    assert watch.seen == [creation.store.get_image(frame).tobytes() for frame in painted]
    for step in creation.steps[:-1]:
        assert step.text in watch.said
    assert creation.plan is not None
    for word in ("beach", "cat", "ball", "red", PROMPT, *(step.instruction for step in creation.plan.steps)):
        assert word in watch.said
    assert "settings" not in watch.said and not any(len(said) == 64 for said in watch.said), "no hash is a text"
    assert order.index("2 steps: paint a beach with a cat; add a red ball") < order.index("event step")


def test_a_policy_without_objections_changes_no_byte() -> None:
    plain = studio(None).paint(PROMPT, id="plain")
    watched = studio(Watch()).paint(PROMPT, id="watched")
    assert plain.hashes == watched.hashes


def test_a_prompt_is_refused_before_anything_is_planned() -> None:
    vlm = ToyVLM()
    creation = studio(Rules([Rule(words=("red ball",), reason="no balls")]), vlm=vlm).paint(PROMPT)
    assert kinds(creation) == ["brief", "finish"] and vlm.questions == []
    assert creation.stop_reason is StopReason.REFUSED and creation.steps[-1].text == "refused: no balls"
    assert creation.frame is None and creation.store.verify(creation.id) == []
    assert "no balls" in page(creation)


def test_a_plan_is_refused_and_not_recorded() -> None:
    said: Plan = PLAN.model_copy(update={"style": "gory"})
    creation = studio(Rules([Rule(words=("gory",), reason="no gore")]), vlm=ToyVLM([said])).paint(PROMPT)
    assert kinds(creation) == ["brief", "finish"] and creation.steps[-1].text == "refused: no gore"
    assert "gory" not in "".join(step.model_dump_json() for step in creation.steps)


def test_a_refused_picture_is_never_stored_and_the_one_before_is_returned() -> None:
    watch = Watch(pictures=lambda number: Ruling("not that") if number == 2 else None)
    creation = studio(watch).paint(PROMPT)
    assert kinds(creation) == ["brief", "plan", "draft", "reflect", "finish"]
    assert creation.stop_reason is StopReason.REFUSED and creation.steps[-1].text == "refused: not that"
    assert creation.frame == creation.steps[2].outputs[0]
    stored = {frame.hash for step in creation.steps for frame in frames_of(step)}
    assert creation.store.put_image(Image.frombytes("RGB", (40, 40), watch.seen[1])).hash not in stored


def test_a_refusal_wins_over_acceptance() -> None:
    creation = studio(
        Watch(texts=lambda said: Ruling("enough") if "3 of 3" in said else None), vlm=ToyVLM([SHORT])
    ).paint(PROMPT)
    assert creation.stop_reason is StopReason.REFUSED and kinds(creation) == ["brief", "plan", "draft", "finish"]


def test_what_a_critic_says_is_redacted_in_the_record() -> None:
    scripted = look("present", "wrong", "present", verdict="refine")
    scripted["findings"][1]["seen"] = "an Acme cat"
    policy = Rules(redact=[Rule(words=("acme",), replace="some", reason="no brands")])
    creation = studio(policy, vlm=ToyVLM([SHORT], looks=[scripted])).paint(PROMPT)
    (first, *_) = [step for step in creation.steps if step.kind is StepKind.REFLECT]
    assert first.critique and first.critique.findings[1].seen == "an some cat"
    assert first.settings["redacted"] == "no brands" and first.text.endswith("(redacted: no brands)")
    assert not any("Acme" in step.model_dump_json() for step in creation.steps)


def test_a_redacted_picture_takes_the_place_of_the_painted_one() -> None:
    plain = Image.new("RGB", (40, 40), INK)
    watch = Watch(pictures=lambda number: Ruling("too vivid", picture=plain) if number == 1 else None)
    creation = studio(watch, vlm=ToyVLM([SHORT])).paint(PROMPT)
    draft = creation.steps[2]
    assert creation.store.get_image(draft.outputs[0]).tobytes() == plain.tobytes()
    assert draft.settings["redacted"] == "too vivid"
    assert creation.store.verify(creation.id) == []


def test_a_redaction_that_leaves_no_plan_is_a_refusal() -> None:
    policy = Rules(redact=[Rule(words=("cat",), reason="no cats")])
    creation = studio(policy).paint("something")
    assert creation.stop_reason is StopReason.REFUSED, "a thing without a name is no thing"
    assert creation.steps[-1].text == "refused: no cats"


def test_the_redacted_prompt_is_what_is_planned() -> None:
    vlm = ToyVLM()
    policy = Rules(redact=[Rule(words=("red ball",), replace="green cube", reason="dull")])
    creation = studio(policy, vlm=vlm).paint(PROMPT)
    assert creation.brief.prompt == "a cat and a green cube on a beach"
    assert vlm.questions[0].text == "plan: a cat and a green cube on a beach"


def test_a_person_is_reviewed_too() -> None:
    policy = Rules([Rule(words=("kite",), reason="no kites")])
    one = studio(policy)
    waiting = one.paint(PROMPT, pause=["after:reflect"])
    refused = one.answer(waiting.id, add("kite", (50, 5, 70, 25)))
    assert refused.stop_reason is StopReason.REFUSED and refused.frame == waiting.frame
    forked = one.fork(waiting.head, edit=add("kite", (50, 5, 70, 25)))
    assert forked.stop_reason is StopReason.REFUSED and kinds(forked)[-2:] == ["brief", "finish"]
    again = one.fork(waiting.head, prompt="a kite")
    assert again.stop_reason is StopReason.REFUSED and one.store.verify(again.id) == []


def test_a_given_picture_is_reviewed_before_it_is_stored() -> None:
    watch = Watch(pictures=lambda number: Ruling("seen before"))
    one = studio(watch)
    given = Image.new("RGB", (40, 40), INK)
    refused = one.edit(given, PROMPT)
    assert refused.stop_reason is StopReason.REFUSED and not refused.brief.units
    assert not [frame for step in refused.steps for frame in frames_of(step)]
    waiting = Studio(ToyPainter(), ToyVLM()).paint(PROMPT, pause=["after:draft"])
    said = studio(Watch(pictures=lambda number: Ruling("no"))).answer(waiting.id, given)
    assert said.stop_reason is StopReason.REFUSED


def test_a_refused_creation_stays_refused_when_resumed() -> None:
    policy = Rules([Rule(words=("red ball",), reason="no balls")])
    creation = studio(policy).paint(PROMPT)
    assert studio(policy).resume(creation.id).head == creation.head


def test_a_creation_begun_without_a_policy_meets_it_at_the_next_node() -> None:
    begun = studio(None).begin(PROMPT)
    creation = studio(Rules([Rule(words=("red ball",), reason="no balls")])).resume(begun.id)
    assert creation.stop_reason is StopReason.REFUSED and kinds(creation) == ["brief", "finish"]


# The example: rules from a file


def drawing() -> Image.Image:
    picture = Image.new("RGB", (64, 64), "white")
    pen = ImageDraw.Draw(picture)
    pen.ellipse((8, 8, 40, 56), fill="red")
    pen.rectangle((40, 20, 60, 60), fill="navy")
    return picture


def test_rules_are_read_from_a_file(tmp_path: Path) -> None:
    drawing().save(tmp_path / "known.png")
    path = tmp_path / "rules.toml"
    path.write_text(
        '[[stop]]\nwords = ["machine gun"]\nreason = "no weapons"\n'
        '[[redact]]\nwords = ["acme", "acme corp"]\nreplace = "a brand"\nreason = "no brands"\n'
        '[[redact]]\npictures = ["known.png"]\nreason = "shown before"\n'
    )
    rules = Rules.read(path)
    assert rules.text("a Machine  Gun") == Ruling("no weapons")
    assert rules.text("a ｍａｃｈｉｎｅ gun") == Ruling("no weapons"), "full-width letters are letters"
    assert rules.text("a machine gunner") is None and rules.text("a machine") is None
    assert rules.text("by ACME Corp, not acmes") == Ruling("no brands", "by a brand, not acmes")
    assert rules.picture(Image.new("RGB", (64, 64), "white")) is None
    ruling = rules.picture(drawing().resize((128, 128)))
    assert ruling and ruling.reason == "shown before" and ruling.picture
    assert ruling.picture.size == (128, 128) and len(ruling.picture.getcolors(9999) or ()) <= 36


def test_the_hash_knows_copies_and_tells_others_apart() -> None:
    one = drawing()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    noisy = Image.blend(one, Image.fromarray(noise, "RGB"), 0.1)
    assert (difference_hash(one) ^ difference_hash(noisy.resize((90, 90)))).bit_count() <= 6
    assert (difference_hash(one) ^ difference_hash(one.transpose(Image.Transpose.FLIP_LEFT_RIGHT))).bit_count() > 6


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[stop]]\nwords = ['x']\n", "stop.0.reason"),
        ("[[halt]]\nwords = ['x']\nreason = 'y'\n", "halt"),
        ("[[stop]\n", "no TOML"),
        ("[[stop]]\nwords = ['']\nreason = 'y'\n", "words"),
        ("[[stop]]\npictures = ['gone.png']\nreason = 'y'\n", "gone.png"),
    ],
)
def test_rules_that_cannot_be_used(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        Rules.read(path)
    with pytest.raises(InputError, match="cannot read"):
        Rules.read(tmp_path / "none.toml")


def test_rules_from_the_command_line_and_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(studio_module, "open_painter", lambda name: ToyPainter())
    monkeypatch.setattr(studio_module, "open_vlm", lambda name: ToyVLM())
    path = tmp_path / "rules.toml"
    path.write_text('[[stop]]\nwords = ["ball"]\nreason = "no balls"\n')

    def paint(*words: object) -> Any:
        capsys.readouterr()
        assert main(["paint", PROMPT, "--json", *map(str, words)]) == 0
        return json.loads(capsys.readouterr().out)

    assert paint("--review", path)["stop_reason"] == "refused"
    assert paint()["stop_reason"] == "accepted"
    monkeypatch.setenv("BRUSHLOOP_REVIEW", str(path))
    assert paint()["stop_reason"] == "refused"
    monkeypatch.setenv("BRUSHLOOP_REVIEW", str(tmp_path / "none.toml"))
    assert main(["paint", PROMPT]) == 2
