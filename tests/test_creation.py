"""A creation reads as one value, and an exported picture carries what is needed to find it again."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from brushloop.canvas import (
    SCHEMA_VERSION,
    Brief,
    Critique,
    Element,
    Plan,
    PlanStep,
    Step,
    StepKind,
    StopReason,
    Verdict,
)
from brushloop.creation import RECIPE_KEY, Creation, read_recipe
from brushloop.errors import InputError, MissingObjectError, UnknownCreationError, UnwritableError, VersionError
from brushloop.store import Store

BRIEF = Brief(prompt="ein roter Kater – 猫 <script>", seed=2**62 + 1)
PLAN = Plan(elements=(Element(name="cat", color="red"),), steps=(PlanStep(instruction="paint a red cat", adds=(0,)),))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


def grow(store: Store, *steps: Step) -> Creation:
    """A creation of these steps, each the child of the one before."""
    head = store.put_step(steps[0])
    id = store.create(head)
    for step in steps[1:]:
        head = store.put_step(step.model_copy(update={"parent": head}))
        store.set_head(id, head)
    return Creation(id, head, store)


def story(store: Store) -> list[Step]:
    """Brief, plan, two drafts of which the first is kept, critique, finish."""
    best, worse = (store.put_image(Image.new("RGB", (16, 8), color)) for color in ("red", "blue"))
    return [
        Step(kind=StepKind.BRIEF, text=BRIEF.prompt, brief=BRIEF),
        Step(kind=StepKind.PLAN, text="a red cat", plan=PLAN),
        Step(kind=StepKind.DRAFT, outputs=(best,), seed=1),
        Step(kind=StepKind.REFINE, inputs=(best,), outputs=(worse,), seed=2),
        Step(kind=StepKind.REFLECT, inputs=(worse,), critique=Critique(verdict=Verdict.REFINE, score=0.2)),
        Step(kind=StepKind.FINISH, inputs=(best,), outputs=(best,), settings={"stop_reason": "stalled"}),
    ]


def test_finished_creation_reads_as_one_value(store: Store) -> None:
    steps = story(store)
    creation = grow(store, *steps)
    assert [step.kind for step in creation.steps] == [step.kind for step in steps]
    assert creation.hashes[-1] == creation.head
    assert (creation.brief, creation.plan, creation.critique) == (BRIEF, PLAN, steps[4].critique)
    assert creation.finished
    assert creation.stop_reason is StopReason.STALLED
    assert creation.frame == steps[2].outputs[0], "the finish step's choice, not the last picture painted"
    assert creation.image is not None
    assert creation.image.getpixel((0, 0)) == (255, 0, 0)


def test_unfinished_creation_shows_what_was_painted_last(store: Store) -> None:
    steps = story(store)
    creation = grow(store, *steps[:-1])
    assert not creation.finished
    assert creation.stop_reason is None
    assert creation.frame == steps[3].outputs[0]
    bare = grow(store, steps[0])
    assert (bare.plan, bare.critique, bare.frame, bare.image) == (None, None, None, None)
    assert bare.summary()["image"] is None


def test_creation_stays_where_it_was_opened(store: Store) -> None:
    steps = story(store)
    creation = grow(store, *steps[:-1])
    store.set_head(creation.id, store.put_step(steps[-1].model_copy(update={"parent": creation.head})))
    assert not creation.finished
    assert Creation.open(store, creation.id).finished
    assert Creation.open(store, creation.hashes[1]).hashes == creation.hashes[:2]
    with pytest.raises(UnknownCreationError):
        Creation.open(store, "nobody")


def test_summary_is_the_json_that_scripts_rely_on(store: Store) -> None:
    creation = grow(store, *story(store))
    summary = json.loads(json.dumps(creation.summary()))
    assert list(summary) == ["id", "head", "image", "stop_reason", "steps"]
    assert (summary["id"], summary["head"], summary["stop_reason"]) == (creation.id, creation.head, "stalled")
    assert os.path.isfile(summary["image"])
    assert [list(step) for step in summary["steps"]] == [["hash", "kind", "image", "text"]] * 6
    assert [step["kind"] for step in summary["steps"]] == ["brief", "plan", "draft", "refine", "reflect", "finish"]
    assert [step["image"] is None for step in summary["steps"]] == [True, True, False, False, True, False]
    assert summary["steps"][0]["text"] == BRIEF.prompt


def test_stop_reason_of_a_later_version(store: Store) -> None:
    last = Step(kind=StepKind.FINISH, settings={"stop_reason": "moonrise"})
    with pytest.raises(VersionError, match="'moonrise'"):
        _ = grow(store, story(store)[0], last).stop_reason


def test_picture_that_is_gone_is_named(store: Store) -> None:
    creation = grow(store, *story(store))
    assert creation.frame is not None
    os.unlink(store.image_path(creation.frame))
    with pytest.raises(MissingObjectError, match=creation.frame.hash):
        _ = creation.image


def test_recipe_travels_with_the_picture(store: Store, tmp_path: Path) -> None:
    creation = grow(store, *story(store))
    path = creation.export(tmp_path / "cat.png")
    recipe = read_recipe(path)
    assert (recipe.id, recipe.head, recipe.seed, recipe.brief) == (creation.id, creation.head, 2**62 + 1, BRIEF)
    assert creation.image is not None
    with Image.open(path) as exported:
        assert exported.tobytes() == creation.image.tobytes()
        assert json.loads(exported.info["brushloop"])["head"] == creation.head
    first = path.read_bytes()
    assert creation.export(path).read_bytes() == first


def test_export_that_cannot_be(store: Store, tmp_path: Path) -> None:
    creation = grow(store, *story(store))
    with pytest.raises(InputError, match=r"end in \.png"):
        creation.export(tmp_path / "cat.jpg")
    with pytest.raises(UnwritableError, match="nowhere"):
        creation.export(tmp_path / "nowhere" / "cat.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UnwritableError, match=r"folder\.png"):
        creation.export(tmp_path / "folder.png")
    with pytest.raises(InputError, match="no picture yet"):
        grow(store, story(store)[0]).export(tmp_path / "cat.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.png", "home"]


def test_picture_without_a_recipe_is_refused(store: Store, tmp_path: Path) -> None:
    whole = grow(store, *story(store)).export(tmp_path / "whole.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.jpg")
    (tmp_path / "half.png").write_bytes(whole.read_bytes()[:60])
    for name, said in {
        "gone.png": "no picture at",
        "plain.png": "carries no brushloop recipe",
        "photo.jpg": "not a whole PNG",
        "half.png": "not a whole PNG",
        ".": "not a whole PNG",
    }.items():
        with pytest.raises(InputError, match=said) as error:
            read_recipe(tmp_path / name)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("field", [{"id": "../../etc"}, {"head": "../x"}, {"seed": "x"}, {"brief": {}}, {"more": 1}])
def test_recipe_written_by_someone_else(store: Store, tmp_path: Path, field: dict[str, object]) -> None:
    recipe = grow(store, *story(store)).recipe.model_dump(mode="json")
    with pytest.raises(InputError, match="damaged, or another program wrote it"):
        read_recipe(write_png(tmp_path / "foreign.png", recipe | field))


def test_recipe_of_a_later_version(store: Store, tmp_path: Path) -> None:
    with pytest.raises(VersionError, match="upgrade brushloop"):
        read_recipe(write_png(tmp_path / "later.png", {"version": SCHEMA_VERSION + 1}))


def write_png(path: Path, recipe: dict[str, object]) -> Path:
    chunk = PngInfo()
    chunk.add_text(RECIPE_KEY, json.dumps(recipe))
    Image.new("RGB", (8, 8)).save(path, pnginfo=chunk)
    return path
