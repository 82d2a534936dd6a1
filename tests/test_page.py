"""The page: everything in one file, nothing let in from outside, and what each step did."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from fakes import CAT, GROUND, PLAN, SHORT, ToyPainter, ToyVLM, add, look
from PIL import Image

from brushloop import Creation, Plan, Studio
from brushloop.agent.chapters import chapters, pictures, thing
from brushloop.agent.page import page, write_page
from brushloop.canvas import Correction, EditType, Element, PlanStep, StepKind
from brushloop.errors import MissingObjectError, UnwritableError
from brushloop.record import frames_of

PROMPT = "a cat and a red ball on a beach"
ATTACK = "</style></svg><script>alert(1)</script><img src=x onerror=alert(2)> \"'&"
VOID = {"meta", "input", "img", "br", "hr", "link"}


class Page(HTMLParser):
    """Reads a page: its tags in order, the texts of some, and whether everything opened is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(html)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)

    def all(self, tag: str, kind: str | None = None) -> list[dict[str, str | None]]:
        return [a for name, a in self.tags if name == tag and (kind is None or kind in (a.get("class") or "").split())]


def miss(times: int) -> ToyPainter:
    left = iter([True] * times)
    return ToyPainter(fails=lambda request: next(left, False))


def read(creation: Creation) -> Page:
    return Page(page(creation))


@pytest.fixture
def creation() -> Creation:
    """A first draft that comes to nothing, two refinements, and another plan step."""
    return Studio(miss(2), ToyVLM()).paint(PROMPT, seed=3)


def test_everything_is_in_the_one_file(creation: Creation, tmp_path: Path) -> None:
    target = write_page(creation, tmp_path / "page.html")
    assert list(tmp_path.glob("page*")) == [target]
    html = target.read_text(encoding="utf-8")
    frames = {frame for step in creation.steps for frame in frames_of(step)}
    shown = re.findall(r'  --p\d+: url\("([^"]*)"\);\n', html)
    assert len(shown) == len(frames), "each picture once, however often it is shown"
    for url in shown:
        assert Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,"))))
    for _, attributes in Page(html).tags:
        for name in ("src", "href", "action", "srcset", "style"):
            value = attributes.get(name) or "#"
            assert value.startswith(("#", "--width:", "width:", "--picture:", "--left:")), (name, value[:80])
    assert len(re.findall(r"url\(", html)) == len(shown)
    assert not re.search(r"<svg|@import|https?://", html)


def test_the_policy_lets_in_this_script_and_nothing_else(creation: Creation) -> None:
    read_page = read(creation)
    (script,) = read_page.texts["script"]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [a["content"] for a in read_page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": "'unsafe-inline'",
        "script-src": f"'sha256-{digest}'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def test_what_models_and_people_write_is_escaped() -> None:
    plan = Plan(
        elements=(Element(name=ATTACK[:80], role="background"), Element(name="cat", color=ATTACK, boxes=(CAT,))),
        steps=(PlanStep(instruction=ATTACK, expected=ATTACK, adds=(0, 1)),),
        style=ATTACK,
        domain=ATTACK,
    )
    wish = Correction(edit=EditType.ADD, instruction=ATTACK, regions=(CAT,))
    vlm = ToyVLM(
        [plan], looks=[look("present", "missing", corrections=[wish]), look("present", "present", verdict="accept")]
    )
    made = Studio(ToyPainter(), vlm).paint(f"{ATTACK} {PROMPT}", seed=3)
    read_page = read(made)
    assert [tag for tag, _ in read_page.tags].count("script") == 1
    assert not read_page.all("img")
    assert not [name for _, attributes in read_page.tags for name in attributes if name.startswith("on")]
    assert any(ATTACK in text for text in read_page.texts["h1"])
    assert "<script>alert" not in page(made)


def test_pictures_with_plan_and_critique_beside_them(creation: Creation) -> None:
    read_page = read(creation)
    painted = [step for step in creation.steps if step.kind in (StepKind.DRAFT, StepKind.REFINE)]
    assert len(read_page.all("article", "entry")) == len(painted) + 1, "and the end"
    assert len(read_page.all("a")) == len(painted), "the strip"
    ids = {a["id"] for a in read_page.all("article")}
    assert {f"{a['href']}" for a in read_page.all("a")} <= {f"#{id}" for id in ids}
    over = [step for step in painted if step.inputs]
    assert len(read_page.all("div", "slider")) == len(read_page.all("input")) - 1 == len(over)
    for status in ("present", "missing", "not_yet"):
        assert read_page.all("li", status), status
    words = "".join(read_page.texts["span"])
    for text in ("✓", "present", "○", "missing", "not yet", "red ball"):
        assert text in words, "said in words, not by colour alone"
    for text in (PROMPT, creation.head, creation.id, "the critic found everything as planned"):
        assert text in page(creation)


def test_what_a_refinement_changed_and_what_was_rolled_back() -> None:
    wish = Correction(edit=EditType.COLOR, instruction="make the cat red", regions=(CAT,))
    wrong = {"element": 1, "status": "wrong", "fault": "color"}
    worse = look("missing", "missing", "missing")
    first = look("present", "wrong", "missing", corrections=[wish])
    first["findings"][1] = wrong
    made = Studio(ToyPainter(), ToyVLM([SHORT], looks=[first, worse])).paint(PROMPT, seed=3)
    draft, refined, *_ = pictures(chapters(made))
    assert (draft.stood, refined.stood) == (True, False)
    assert refined.regions == (CAT,) and refined.middle == 25
    assert refined.score_before is not None and refined.critique and refined.critique.score < refined.score_before
    html = page(made)
    for text in (
        "rolled back",
        "make the cat red",
        "(color)",
        "pasted back",
        f"0.{round(refined.score_before * 100)} → 0.00",
    ):
        assert text in html, text
    region = read(made).all("span", "region")[0]
    assert region["style"] == "--left: 10%; --top: 10%; --wide: 30%; --high: 30%"


def test_what_stood_is_what_the_loop_kept() -> None:
    for seed in range(6):
        painter = ToyPainter(fails=lambda request: request.seed % 3 != 0)
        made = Studio(painter, ToyVLM(), f"memory://stood-{seed}").paint(PROMPT, seed=seed)
        kept = [entry for entry in pictures(chapters(made)) if entry.stood]
        assert made.frame in [entry.after for entry in kept]


def test_the_hand_of_a_person_is_shown() -> None:
    studio = Studio(miss(1), ToyVLM())
    id = studio.paint(PROMPT, seed=3, pause=["after:plan"]).id
    studio.answer(id, SHORT, pause=["after:draft"])
    studio.answer(id, Image.new("RGB", (40, 40), GROUND), pause=["after:reflect"])
    studio.answer(id, add("cat", CAT), pause=["before:finish"])
    made = studio.answer(id)
    told = chapters(made)
    assert [chapter.title for chapter in told[:3]] == ["The plan", "A person's plan", "Step 1 of 1"]
    words = page(made)
    for text in ("A person's plan", "another picture", "asked: add a cat", "approved", "Asked for:"):
        assert text in words or text.replace("'", "&#39;") in words, text
    assert "The same again" not in words


def test_forks_replans_and_ends_in_the_middle() -> None:
    studio = Studio(ToyPainter(spills=True), ToyVLM())
    one = studio.paint(PROMPT)
    two = studio.fork(one.id)
    three = studio.fork(two.id, prompt="only a cat")
    titles = [chapter.title for chapter in chapters(three)]
    assert titles.count("A fork begins here") == 2 and titles.count("The end") == 3
    assert "Another plan" in titles and "Step 2 of 2, again" in titles
    ids = [a["id"] for _, a in read(three).tags if a.get("id")]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("pause", ["before:plan", "after:plan", "after:draft", "after:reflect", "before:finish"])
def test_unfinished(pause: str) -> None:
    made = Studio(miss(1), ToyVLM()).paint(PROMPT, pause=[pause])
    assert "not finished" in page(made)


def test_cancelled_before_anything_was_painted() -> None:
    made = Studio(ToyPainter(), ToyVLM()).paint(PROMPT, cancel=lambda: True)
    assert "a person stopped it" in page(made)


def test_the_command_that_paints_the_same(creation: Creation) -> None:
    assert f"brushloop paint &#39;{PROMPT}&#39; --seed 3 --painter toy-painter --vlm toy-vlm<" in page(creation)
    limited = Studio(ToyPainter(), ToyVLM()).paint("cat", size=(40, 40), budget={"rounds": 9})
    assert "brushloop paint cat --seed 0 --size 40x40 --budget rounds=9 --painter" in page(limited)


def test_light_dark_phone_and_smooth(creation: Creation) -> None:
    html = page(creation)
    for text in ("prefers-color-scheme: dark", "max-width: 44rem", "width=device-width", "image-rendering: auto"):
        assert text in html
    assert 'style="--width: 80px"' in html, "twice its 40 pixels"


def test_damage_and_a_full_disk_are_one_line(creation: Creation, tmp_path: Path) -> None:
    with pytest.raises(UnwritableError):
        write_page(creation, tmp_path / "no" / "folder" / "x.html")
    frame: Any = creation.frame
    Path(creation.store.image_path(frame)).unlink()
    with pytest.raises(MissingObjectError, match=frame.hash):
        page(creation)


def test_things_in_words() -> None:
    assert [thing(element) for element in PLAN.elements] == ["beach", "cat", "red ball"]
    assert thing(Element(name="cat", count=2, size="small", color="red")) == "2 × small red cat"
