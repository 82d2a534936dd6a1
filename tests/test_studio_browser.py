"""The studio page in a headless Chromium: a creation painted, paused, corrected, forked and exported by clicking.

make test-page. Accessibility is judged by axe-core in every view and in both lights. BRUSHLOOP_SHOTS names a folder
for screenshots, to be looked at.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import payloads
import pytest
from fakes import INK, PLAN, SHORT, ToyPainter, ToyVLM, look
from PIL import Image
from serving import running, toy_studio
from test_chat import Knowing
from test_trust_page import creation

from brushloop import Step, Studio
from brushloop.canvas import StepKind
from brushloop.creation import read_recipe
from brushloop.serve.app import create_app
from brushloop.serve.guard import Rules
from brushloop.store import Store

pytestmark = [pytest.mark.page, pytest.mark.timeout(600)]

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PROMPT = "a cat and a red ball on a beach"
Open = Callable[..., Any]

SEEN = """
window.seen = {};
new MutationObserver(() => {
  for (const row of document.querySelectorAll("[data-step]")) seen[row.dataset.step] ??= Date.now();
}).observe(document, {subtree: true, childList: true});
"""

HANDLERS = """
[...document.querySelectorAll("main *")].some((each) => [...each.attributes].some(({name}) => name.startsWith("on")))
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        except api.Error as error:
            pytest.skip(f"no browser: {str(error)[:200]}")
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Open]:
    """Opens a page; whatever it complains of in its console fails the test, but for a status of `refused`."""
    contexts, complaints = [], []

    def complain(said: Any, expected: str) -> None:
        gone = "CONNECTION_REFUSED" in said.text  # the server ends before the page is closed
        if said.type in ("error", "warning") and expected not in said.text and not gone:
            complaints.append(said.text)

    def opened(url: str, width: int = 1280, height: int = 900, light: str = "light", refused: int = 0) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=light, accept_downloads=True
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.add_init_script(SEEN)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complain(said, f"status of {refused}"))
        page.goto(url)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not complaints, complaints


def accessible(page: Any) -> None:
    """axe-core finds no violation in the page as it stands."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = axe.run(page).response["violations"]
    told = [
        f"{rule['id']}: {node['target']} {node.get('failureSummary', '')}" for rule in found for node in rule["nodes"]
    ]
    assert not told, "\n".join(told)


def shot(page: Any, name: str) -> None:
    if folder := os.environ.get("BRUSHLOOP_SHOTS"):
        page.wait_for_timeout(200)
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=page.viewport_size["width"] < 600)


def fits(page: Any) -> None:
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= page.viewport_size["width"], "nothing is wider than the window"


def button(page: Any, name: str, exact: bool = True) -> Any:
    return page.get_by_role("button", name=name, exact=exact)


def id_in(page: Any) -> str:
    return str(page.evaluate("location.hash")).removeprefix("#/")


def stands(page: Any, words: str) -> None:
    page.locator(".title .state", has_text=re.compile(words)).wait_for()


def test_paint_pause_correct_fork_and_export_by_clicking(home: Path, open_page: Open, tmp_path: Path) -> None:
    with running(create_app(toy_studio(home, slow=0.05))) as url:
        page = open_page(url)
        accessible(page)
        page.get_by_label("Prompt").fill(PROMPT)
        page.get_by_label("after the plan").check()
        button(page, "Paint").click()

        # The plan is edited
        page.get_by_role("heading", name="Your turn").wait_for()
        first = id_in(page)
        button(page, "Edit plan").click()
        accessible(page)
        shot(page, "plan")
        page.get_by_label("Step 2", exact=True).fill("add a bright red ball")
        button(page, "Use this plan").click()
        page.locator("progress[value]").wait_for()
        stands(page, "At work")

        # Paused while it paints, and a mask is brushed
        button(page, "Pause").click()
        stands(page, "Waits for you")
        while not page.locator("[data-kind=draft]").count():  # paused before there was a picture
            button(page, "Approve and go on").click()
            stands(page, "At work")
            button(page, "Pause").click()
            stands(page, "Waits for you")
        button(page, "Brush a mask").click()
        page.get_by_label("What is to change there").fill("add a kite")
        page.locator(".easel canvas").scroll_into_view_if_needed()
        box = page.locator(".easel canvas").bounding_box()
        page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.2 * box["height"])
        page.mouse.down()
        page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 0.2 * box["height"], steps=5)
        page.mouse.up()
        accessible(page)
        shot(page, "brush")
        button(page, "Correct and go on").click()
        stands(page, "Finished")
        steps = httpx.get(f"{url}/v1/creations/{first}/steps").json()["data"]
        said = [step for step in steps if step["kind"] == "human" and step["critique"]]
        ((left, top, right, bottom),) = said[0]["critique"]["corrections"][0]["regions"]
        assert 45 <= left <= 60 and 80 <= right <= 95 and 8 <= top <= 20 <= bottom <= 32
        assert any("bright red ball" in step["text"] for step in steps if step["kind"] == "draft")
        ink = Image.open(httpx.get(f"{url}/v1/creations/{first}/image")).convert("RGB").getpixel((28, 8))
        assert ink == INK, "what was asked for was painted there"

        # Compared, explained
        refined = page.locator("[data-kind=refine]").first
        refined.get_by_role("button", name="look closer").click()
        button(page, "Compare").click()
        slider = page.get_by_label("How much of the picture before is shown")
        slider.focus()
        page.keyboard.press("Home")
        assert (
            page.locator(".compare .over").evaluate("each => getComputedStyle(each).clipPath")
            == "inset(0px 100% 0px 0px)"
        )
        button(page, "Why did this change?").click()
        page.get_by_text("of the picture changed").wait_for()
        assert page.get_by_text("Because a person asked for it.").is_visible()
        assert "0% of it away from the region" in page.locator(".figures").inner_text()
        painted = "canvas => canvas.getContext('2d').getImageData(0, 0, 40, 40).data.some((value) => value > 0)"
        assert page.locator(".changes canvas").evaluate(painted)
        accessible(page)
        shot(page, "why")

        # Forked
        page.locator("[data-kind=plan]").first.get_by_role("button", name="Fork from here").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Prompt").fill("a cat on a beach")
        accessible(page)
        shot(page, "fork")
        button(dialog, "Fork").click()
        page.get_by_role("heading", name="a cat on a beach", exact=True).wait_for()
        stands(page, "Finished")
        second = id_in(page)
        tree = page.get_by_role("navigation", name="Forks")
        assert tree.get_by_role("link").count() == 2 and second != first
        family = httpx.get(f"{url}/v1/creations/{second}/tree").json()["data"]
        assert family[1]["id"] == second and family[1]["forked_from"]["creation"] == first

        # Exported
        page.locator("summary", has_text="Export").click()
        accessible(page)
        shot(page, "export")
        with page.expect_download() as kept:
            page.get_by_role("link", name=".png").click()
        kept.value.save_as(tmp_path / "x.png")
        assert read_recipe(tmp_path / "x.png").id == second
        page.get_by_label("without prompts and names").check()
        with page.expect_download() as kept:
            page.get_by_role("link", name=".epub").click()
        kept.value.save_as(tmp_path / "x.epub")
        book = zipfile.ZipFile(tmp_path / "x.epub")
        assert not [name for name in book.namelist() if b"a cat on a beach" in book.read(name)]
        page.keyboard.press("Escape")
        assert not page.get_by_role("link", name=".epub").is_visible()

        # The gallery has both, and leads back
        page.get_by_role("link", name="brushloop").click()
        cards = page.locator(".gallery li")
        cards.nth(1).wait_for()
        accessible(page)
        shot(page, "gallery")
        cards.nth(1).get_by_role("link").click()
        page.get_by_role("heading", name=PROMPT, exact=True).wait_for()


def test_the_critique_is_rewritten_and_the_rest_is_not_asked(home: Path, open_page: Open) -> None:
    with running(create_app(toy_studio(home))) as url:
        asked = {"prompt": PROMPT, "pause": ["after:reflect"]}
        id = httpx.post(f"{url}/v1/creations", json=asked).json()["id"]
        page = open_page(f"{url}/#/{id}")
        button(page, "Rewrite critique").click()
        page.get_by_label(re.compile("^cat")).select_option("wrong")
        page.get_by_label("What is seen").nth(1).fill("a dog")
        page.get_by_label("Verdict").select_option("refine")
        accessible(page)
        shot(page, "critique")
        page.get_by_label("do not wait for me again").check()
        button(page, "Use this critique").click()
        stands(page, "Finished")
        steps = httpx.get(f"{url}/v1/creations/{id}/steps").json()["data"]
        (said,) = [step for step in steps if step["kind"] == "human"]
        assert said["critique"]["findings"][1]["seen"] == "a dog" and steps[steps.index(said) + 1]["kind"] == "refine"


def test_a_picture_of_ones_own_is_edited_within_a_mask(home: Path, open_page: Open, tmp_path: Path) -> None:
    given = Image.effect_noise((40, 40), 60).convert("RGB")
    given.save(tmp_path / "given.png")
    (tmp_path / "none.png").write_text("no picture")
    with running(create_app(toy_studio(home))) as url:
        page = open_page(url)
        page.get_by_label("Prompt").fill(PROMPT)
        page.locator("summary", has_text="More").click()
        page.get_by_label("A picture to work on").set_input_files(tmp_path / "none.png")
        page.get_by_text("none.png is no picture").wait_for()
        page.get_by_label("A picture to work on").set_input_files(tmp_path / "given.png")
        for edge, percent in (("Left", 50), ("Top", 0), ("Right", 100), ("Bottom", 100)):
            page.get_by_label(edge, exact=True).fill(str(percent))
        accessible(page)
        shot(page, "edit")
        button(page, "Edit").click()
        stands(page, "Finished")
        made = Image.open(httpx.get(f"{url}/v1/creations/{id_in(page)}/image")).convert("RGB")
        left, right = (0, 0, 20, 40), (20, 0, 40, 40)
        assert made.crop(left).tobytes() == given.crop(left).tobytes(), "nothing changed outside of the mask"
        assert made.crop(right).tobytes() != given.crop(right).tobytes()


def test_a_conversation_by_clicking(home: Path, open_page: Open) -> None:
    with running(create_app(Studio(ToyPainter(), Knowing([SHORT]), home))) as url:
        id = httpx.post(f"{url}/v1/creations", json={"prompt": PROMPT}).json()["id"]
        page = open_page(f"{url}/#/{id}", refused=400)
        stands(page, "Finished")
        talk = page.get_by_role("region", name="Conversation")
        talk.get_by_label("Say what to change").fill("remove the zebra")
        button(talk, "Say").click()
        assert "zebra" in talk.get_by_role("alert").inner_text()
        for number, said in enumerate(("add a kite and remove the cat", "make the ball blue"), 2):
            talk.get_by_label("Say what to change").fill(said)
            button(talk, "Say").click()
            talk.get_by_text(said).wait_for()
            stands(page, "Finished")
            talk.get_by_role("listitem").nth(number - 1).wait_for()
        assert not talk.get_by_role("alert").count()
        accessible(page)
        fits(page)
        shot(page, "chat")
        page.get_by_role("heading", name=PROMPT, exact=True).wait_for()
        talk.get_by_role("button", name="Back to picture 2").click()
        page.wait_for_url(lambda there: not there.endswith(id))
        stands(page, "Finished")
        talk.get_by_role("listitem").nth(1).wait_for()
        assert talk.get_by_role("listitem").count() == 2
        page.get_by_role("navigation", name="Forks").wait_for()
        family = page.get_by_role("navigation", name="Forks").get_by_role("link")
        assert family.count() == 2, "going back is a fork, and it stands in the tree"


def test_what_others_do_to_one_that_waits_is_seen(home: Path, open_page: Open) -> None:
    with running(create_app(toy_studio(home))) as url:
        id = httpx.post(f"{url}/v1/creations", json={"prompt": PROMPT, "pause": ["after:plan"]}).json()["id"]
        page = open_page(f"{url}/#/{id}")
        stands(page, "Waits for you")
        httpx.post(f"{url}/v1/creations/{id}/answer", json={}).raise_for_status()
        stands(page, "Finished")


def test_a_step_is_seen_within_a_second_of_its_event(home: Path, open_page: Open) -> None:
    with running(create_app(toy_studio(home, slow=0.1))) as url:
        page = open_page(url)
        page.get_by_label("Prompt").fill(PROMPT)
        button(page, "Paint").click()
        stands(page, "Finished")
        seen = page.evaluate("window.seen")
        lines = (home / "events" / f"{id_in(page)}.jsonl").read_text().splitlines()
        at = [told["at"] for told in map(json.loads, lines) if told["type"] == "step"]
        kinds = page.locator("[data-step]").evaluate_all("rows => rows.map((row) => Number(row.dataset.step))")
        late = {
            n: int(seen[str(n)]) / 1000 - datetime.fromisoformat(at[n]).timestamp() for n in kinds if str(n) in seen
        }
        print("seconds from event to sight:", {n: round(each, 3) for n, each in late.items()})
        assert 0 in late and len(late) >= 4 and max(late.values()) <= 1.0


def long_creation(store: Store, rounds: int) -> str:
    """A creation of so many steps: a brief, a plan, and drafts with what was said of them."""
    from brushloop import Brief
    from brushloop.canvas import Critique

    digest = store.put_step(Step(kind=StepKind.BRIEF, brief=Brief(prompt=PROMPT), text=PROMPT))
    digest = store.put_step(Step(kind=StepKind.PLAN, plan=PLAN, parent=digest, text="a plan"))
    critique = Critique.model_validate(look("present", "missing", "not_yet"))
    for number in range(rounds // 2):
        frame = store.put_image(Image.new("RGB", (40, 40), (number % 256, number // 256, 90)))
        digest = store.put_step(
            Step(
                kind=StepKind.DRAFT, parent=digest, outputs=(frame,), text=f"draft {number}", settings={"plan_step": 0}
            )
        )
        digest = store.put_step(Step(kind=StepKind.REFLECT, parent=digest, inputs=(frame,), critique=critique))
    return store.create(digest)


def test_a_thousand_steps_scroll_smoothly(home: Path, open_page: Open) -> None:
    studio = toy_studio(home)
    id = long_creation(studio.store, 998)
    with running(create_app(studio)) as url:
        page = open_page(f"{url}/#/{id}")
        page.locator("[data-step='0']").wait_for()
        assert "1000 steps" in page.locator(".title .state").inner_text()
        assert page.locator("[data-step]").count() < 40, "only what is in view is in the page"
        frames = page.evaluate(
            """async () => {
              const began = performance.now(), longest = [];
              let last = began;
              for (let at = 0; at < 60; at++) {
                window.scrollBy(0, 700);
                await new Promise(requestAnimationFrame);
                longest.push(performance.now() - last);
                last = performance.now();
              }
              return longest.sort((one, other) => one - other);
            }"""
        )
        print(f"milliseconds a frame: median {frames[30]:.0f}, 95% {frames[57]:.0f}, longest {frames[-1]:.0f}")
        assert frames[30] <= 50
        page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
        page.locator("[data-step='998']").wait_for()
        accessible(page)


@pytest.mark.parametrize("light", ["light", "dark"])
def test_at_the_width_of_a_phone_and_in_both_lights(home: Path, open_page: Open, light: str) -> None:
    studio = toy_studio(home)
    id = studio.paint(PROMPT).id
    waits = studio.paint(PROMPT, pause=["after:reflect"]).id
    with running(create_app(studio)) as url:
        page = open_page(url, 375, 800, light)
        page.locator(".gallery li").first.wait_for()
        for where, words in (("", None), (f"#/{id}", "Finished"), (f"#/{waits}", "nfinished")):
            page.goto(f"{url}/{where}")
            if words:
                stands(page, words)
            fits(page)
            accessible(page)
            shot(page, f"phone-{light}-{words or 'home'}")
        page.set_viewport_size({"width": 1280, "height": 900})
        page.goto(f"{url}/#/{id}")
        stands(page, "Finished")
        accessible(page)
        shot(page, f"desk-{light}")
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        other = "dark" if light == "light" else "light"
        page.get_by_label("Light").select_option(other)
        page.locator(f":root[data-light={other}]").wait_for()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != ground
        accessible(page)


def test_it_can_be_used_with_keys_alone(home: Path, open_page: Open) -> None:
    with running(create_app(toy_studio(home))) as url:
        page = open_page(url)
        page.get_by_label("Prompt").focus()
        page.keyboard.type(PROMPT)
        page.keyboard.press("Control+Enter")
        stands(page, "Finished")
        page.get_by_role("link", name="Skip to the content").focus()
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "content" and id_in(page)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Fork"
        page.keyboard.press("Enter")
        page.get_by_role("dialog").wait_for()
        page.keyboard.press("Escape")
        assert page.evaluate("document.activeElement.textContent") == "Fork", "the focus comes back"
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert page.get_by_role("link", name=".pdf").is_visible()


def test_whatever_a_text_says_it_is_shown_as_text(home: Path, open_page: Open) -> None:
    studio = toy_studio(home)
    texts = payloads.payloads()[::12]
    ids = [creation(text, studio.store).id for text in texts]
    with running(create_app(studio)) as url:
        page = open_page(url)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.locator(".gallery li").first.wait_for()
        for id in ids:
            page.goto(f"{url}/#/{id}")
            page.locator("[data-kind=plan]").wait_for()
            assert not page.evaluate("document.documentElement.hasAttribute('ran')")
            assert page.locator("main :is(script, iframe, svg, object, embed, style, link)").count() == 0
            assert not page.evaluate(HANDLERS)
        assert asked and all(each.startswith((url, "data:")) for each in asked), "nobody else is asked"


def test_a_key_is_asked_for_where_one_is_needed(home: Path, open_page: Open) -> None:
    with running(create_app(toy_studio(home), Rules(keys={"": "k" * 20}))) as url:
        page = open_page(url, refused=401)
        page.get_by_label("API key").fill("wrong")
        button(page, "Come in").click()
        page.get_by_role("alert").wait_for()
        page.get_by_label("API key").fill("k" * 20)
        button(page, "Come in").click()
        page.get_by_label("Prompt").fill(PROMPT)
        button(page, "Paint").click()
        stands(page, "Finished")


def test_what_is_refused_is_told(home: Path, open_page: Open) -> None:
    studio = Studio(ToyPainter(), ToyVLM(unknown=[("zebra", ["horse"])]), home)
    with running(create_app(studio)) as url:
        page = open_page(url, refused=400)
        page.get_by_label("Prompt").fill("a zebra")
        button(page, "Paint").click()
        assert "zebra" in page.get_by_role("alert").inner_text()
