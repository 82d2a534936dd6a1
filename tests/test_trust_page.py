"""Whatever a text says, on the page it is a text: nothing runs, and nothing is asked of anybody."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import browsing
import payloads
import pytest
from fakes import CAT
from PIL import Image

from brushloop import Brief, Creation, Plan, Step, Store
from brushloop.agent.page import page
from brushloop.canvas import (
    ConditionUnit,
    Correction,
    Critique,
    EditType,
    Element,
    Finding,
    ModelRef,
    PlanStep,
    Status,
    StepKind,
    Verdict,
)

ALL = payloads.payloads()


def creation(text: str, store: Store) -> Creation:
    """A creation that has this text wherever a text can be."""
    prompt = "".join(letter for letter in text if ord(letter) >= 32 or letter in "\n\t") or "x"
    maker = ModelRef(id=text, weights=text)
    brief = Brief(prompt=prompt, units=(ConditionUnit(text=text),))
    plan = Plan(
        elements=(
            Element(name=text[:80], role="background", color=text[:80], size=text[-80:]),
            Element(name=text[-80:], color=text[-80:], size=text[:80], boxes=(CAT,)),
        ),
        steps=(PlanStep(instruction=text, expected=text, adds=(0, 1)),),
        style=text,
        domain=text,
    )
    wish = Correction(edit=EditType.ADD, instruction=text, regions=(CAT,))
    seen = Finding(element=1, status=Status.WRONG, seen=text, score=0.5)
    critique = Critique(findings=(seen,), corrections=(wish,), verdict=Verdict.REFINE, score=0.5)
    frame = store.put_image(Image.new("RGB", (8, 8)))
    made = {"plan_step": 0, "denoising_steps": text, "guidance": text, "strength": text, "drift": 0.1, "regions": text}
    digest = None
    for step in (
        Step(kind=StepKind.BRIEF, brief=brief, text=text, settings={"painter": text, "vlm": text}),
        Step(kind=StepKind.PLAN, plan=plan, text=text, model=maker),
        Step(kind=StepKind.DRAFT, outputs=(frame,), text=f"{text} ", model=maker, seed=1, settings=made),
        Step(kind=StepKind.REFLECT, inputs=(frame,), critique=critique, text=text, model=maker),
        Step(
            kind=StepKind.REFINE,
            inputs=(frame,),
            outputs=(frame,),
            text=text,
            model=maker,
            settings=made | {"edit": text, "correction": 0},
        ),
        Step(kind=StepKind.REFLECT, inputs=(frame,), critique=critique, text=text, model=maker),
        Step(kind=StepKind.HUMAN, critique=critique, text=text),
        Step(kind=StepKind.FINISH, outputs=(frame,), critique=critique, text=text, settings={"stop_reason": "stalled"}),
    ):
        digest = store.put_step(step.model_copy(update={"parent": digest}))
        store.measure(digest, seconds=1.0, tokens=1)
    assert digest is not None
    return Creation(store.create(digest), digest, store)


class Shape(HTMLParser):
    """The tags of a page and the names of their attributes; what they say is left out."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.mark.parametrize("number", [40, pytest.param(150, marks=pytest.mark.trust)])
def test_no_text_changes_the_shape_of_a_page(number: int) -> None:
    assert len(set(ALL)) >= 150
    store = Store("memory://payloads")
    plain = Shape(page(creation("a red cat", store))).tags
    assert len(plain) > 60 and not [tag for tag, _ in plain if tag in ("svg", "iframe", "object", "embed", "link")]
    for text in ALL[:: max(1, len(ALL) // number)]:
        html = page(creation(text, store))
        shape = Shape(html)
        long = [(tag, names) for tag, names in shape.tags if (tag, names) != ("h1", ("class",))]
        assert len(long) >= len(plain) - 1 and {*shape.tags} <= {*plain, ("h1", ("class",))}, text
        assert html.count("<script>") == 1, text
        assert html.count("default-src &#39;none&#39;") == 1, text
        shown = any(text.strip() in said for said in shape.texts)
        assert shown, f"{text} is shown, as a text"


# In a browser


@pytest.mark.trust
@pytest.mark.skipif(browsing.CHROMIUM is None, reason="no Chromium here to try the pages in")
def test_nothing_runs_in_a_browser_and_nothing_is_asked(tmp_path: Path) -> None:
    store, pages = Store("memory://browser"), {}
    with browsing.site(pages) as (url, asked):
        texts = payloads.payloads(f"{url}/out")
        for number, text in enumerate(texts):
            pages[f"/{number}"] = "text/html; charset=utf-8", page(creation(text, store)).encode("utf-8", "replace")
        pages["/raw"] = "text/html", f"<!doctype html><p>{texts[0]}</p>".encode()
        ran = browsing.look(url, pages, list(pages), tmp_path)
    assert ran == ["/raw"], "the page without any care runs, and only that"
    assert asked == ["/out"], "and only that one asks for something"
