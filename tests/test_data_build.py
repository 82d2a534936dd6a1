"""Building records: builders, splits, filters; resumed builds; what is said when something is wrong."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from brushloop import Studio
from brushloop.canvas import EditType, Element, Status, Task
from brushloop.cli.main import main
from brushloop.errors import CorruptObjectError, InputError, UnwritableError
from brushloop.painter.grids import Layout
from brushloop.supervision.build import filters, layers, pairs, phrases
from brushloop.supervision.build.filters import Rejected
from brushloop.supervision.build.recipes import RECIPES, recipe
from brushloop.supervision.build.run import build
from brushloop.supervision.build.split import held_out_of, object_held_out
from brushloop.supervision.formats import grid
from brushloop.supervision.records import LINES, Record, RecordFolder, TurnKind
from brushloop.supervision.world import edits, scenes
from brushloop.supervision.world.edits import Edit
from brushloop.supervision.world.worlds import current

BUILT = tuple(name for name in RECIPES if name not in ("self-sampled", "mixed"))


def made(name: str, out: Path, number: int = 12, *settings: str) -> list[Record]:
    build(recipe(name, settings), out, number)
    return list(RecordFolder(out))


@pytest.mark.parametrize("name", BUILT)
def test_every_recipe_builds_whole_records_and_the_same_again(name: str, tmp_path: Path) -> None:
    records = made(name, tmp_path / "one", 6)
    made(name, tmp_path / "two", 6)
    assert not list(RecordFolder(tmp_path / "one").problems())
    for file in (LINES, "report.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    assert all(record.split == "train" and not record.held_out for record in records)
    assert all(record.source.licence and record.source.attribution for record in records)
    assert any(turn.loss.text or turn.loss.picture for record in records for turn in record.turns)


def test_growth_grows_and_then_changes(tmp_path: Path) -> None:
    for record in made("multi-turn", tmp_path / "out"):
        states = [turn for turn in record.turns if turn.kind is TurnKind.STATE]
        shown = [len(turn.truth.elements) for turn in states if turn.truth]
        assert shown == sorted(set(shown)) and len(record.pictures) <= 5
        assert record.turns[0].plan is not None and len(record.turns[0].plan.elements) == shown[-1]
    additive = made("additive", tmp_path / "additive")
    assert not [turn for record in additive for turn in record.turns if turn.kind is TurnKind.REFINEMENT]


def test_conflict_says_what_is_wrong_and_mends_it(tmp_path: Path) -> None:
    records = made("conflict", tmp_path / "out", 12, "faulty=1")
    folder = RecordFolder(tmp_path / "out")
    for record in records:
        state, said = record.turns[1], record.turns[2].critique
        assert said is not None and said.corrections and not state.loss.picture
        last = record.turns[-1].critique
        assert last is not None and not last.corrections and last.score == 1
        (plan,) = (turn.plan for turn in record.turns if turn.plan)
        right = [plan.elements[index] for index in plan.due(state.plan_step or 0)]
        mended = folder.image(record.pictures[-1])
        assert filters._array(mended).shape == (128, 128, 3)
        assert record.turns[-2].truth is not None and record.turns[-2].truth.elements == tuple(right)
    sound = made("conflict", tmp_path / "sound", 6, "faulty=0")
    assert all(turn.loss.picture for record in sound for turn in record.turns if turn.picture)


def test_alignment_knows_what_differs(tmp_path: Path) -> None:
    records = made("alignment", tmp_path / "out", 8, "faulty=1")
    for record in records:
        given, said = record.turns[0], record.turns[-1].critique
        assert given.truth is not None and said is not None
        plan = record.turns[1].plan
        assert plan is not None and given.truth.elements != plan.elements
        assert any(finding.status is not Status.PRESENT for finding in said.findings)
    sound = made("alignment", tmp_path / "sound", 6, "faulty=0")
    assert {record.turns[-1].critique.score for record in sound if record.turns[-1].critique} == {1.0}


def test_sequences_end_with_the_finished_picture(tmp_path: Path) -> None:
    records = made("sequences", tmp_path / "out", 8)
    assert {record.task for record in records} == {Task.PROCESS, Task.RECRAFT}
    for record in records:
        states = [turn for turn in record.turns if turn.kind is TurnKind.STATE]
        assert len(states) == record.layout
        if record.task is Task.RECRAFT:
            assert record.turns[0].picture == states[-1].picture
            assert [turn.loss.picture for turn in states] == [True] * (len(states) - 1) + [False]
    folder, (first, *_) = RecordFolder(tmp_path / "out"), records
    cells = Layout.of("2x2" if first.layout == 4 else "3x3").split(grid(first, folder))
    assert [folder.put(cell) for cell in cells] == [turn.picture for turn in first.turns if turn.kind is TurnKind.STATE]
    with pytest.raises(InputError, match="no layout"):
        grid(first.model_copy(update={"layout": None}), folder)


def test_layers_are_taken_in_document_order_and_groups_stay() -> None:
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><defs><rect id="r" width="9" height="9"/></defs>'
        '<rect width="8" height="8" fill="red"/><g transform="translate(4 0)"><rect width="4" height="8" fill="blue"/>'
        '<rect width="4" height="4" fill="lime"/></g><rect width="8" height="1" fill="red"/>'
        '<rect x="20" width="1" height="1"/></svg>'
    )
    assert layers.layer_count(svg) == 5
    assert layers.visible_layers(svg) == (1, 2, 3, 4)  # the last one is outside of the picture
    shown = layers.frames(svg, 4, 64)
    assert shown is not None and layers.frames(svg, 9, 64) is None
    at = [(8, 32), (48, 48), (48, 16), (48, 2)]
    ink = [[frame.getpixel(spot) for spot in at] for frame in shown]
    red, blue, lime = (255, 0, 0, 255), (0, 0, 255, 255), (0, 255, 0, 255)
    assert ink == [[red] * 4, [red, blue, blue, blue], [red, blue, lime, lime], [red, blue, lime, red]]
    with pytest.raises(InputError, match="not SVG"):
        layers.layer_count("<svg")


# Edits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("maker", list(edits.KINDS), ids=lambda maker: maker.__name__)
def test_every_kind_of_edit_makes_sense_in_all_its_words_and_back(maker: object) -> None:
    rng, tried = random.Random(3), 0
    for _ in range(400):
        edit: Edit | None = maker(rng, scenes.sample(rng))  # type: ignore[operator]
        if edit is None:
            continue
        tried += 1
        for way in (edit, pairs.inverse(edit)):
            if way is None:
                continue
            for template in phrases.EDITS[way.kind]:
                text = template.format(**phrases._slots(way))
                assert text.strip() and "{" not in text and "  " not in text, (template, text)
        back = pairs.inverse(edit)
        if back is not None:
            again = scenes.render(back.after, edit.style, edit.variant)
            assert again.tobytes() == scenes.render(edit.before, edit.style, edit.variant).tobytes()
        if tried > 20:
            return
    raise AssertionError(f"only {tried} edits")


def test_pairs_go_there_and_back(tmp_path: Path) -> None:
    records = made("edits", tmp_path / "out", 16)
    assert all(record.task is Task.EDIT and record.turns[1].correction for record in records)
    there_and_back = [
        (one, two) for one, two in zip(records[::2], records[1::2], strict=True) if one.pictures == two.pictures[::-1]
    ]
    assert len(there_and_back) >= 4


CAT = Element(name="cat", boxes=((0, 0, 40, 40),))
RED = Element(name="apple", color="red", boxes=((60, 60, 90, 90),))
GROUND = Element(name="beach", role="background")


@pytest.mark.parametrize(
    ("kind", "before", "after", "regions", "reason"),
    [
        (EditType.ADD, (GROUND, CAT), (GROUND, CAT, RED), ((0, 0, 30, 30),), "no room"),
        (EditType.COLOR, (GROUND, CAT), (GROUND, CAT.model_copy(update={"color": "red"})), CAT.boxes, "no colour"),
        (EditType.REPLACE, (GROUND, CAT), (GROUND, CAT.model_copy(update={"size": "small"})), CAT.boxes, "the same"),
        (EditType.BACKGROUND, (GROUND, CAT), (GROUND, CAT), (), "same background"),
        (EditType.REMOVE, (GROUND, CAT, RED, RED.model_copy(update={"boxes": ((1, 60, 31, 90),)})),
         (GROUND, CAT, RED.model_copy(update={"boxes": ((1, 60, 31, 90),)})), RED.boxes, "more than one"),
        (EditType.MOVE, (GROUND, CAT), (GROUND, CAT.model_copy(update={"boxes": ((5, 0, 45, 40),)})),
         ((0, 0, 40, 40), (5, 0, 45, 40)), "too little"),
        (EditType.RESIZE, (GROUND, CAT), (GROUND, CAT.model_copy(update={"boxes": ((1, 1, 39, 39),)})),
         ((0, 0, 40, 40), (1, 1, 39, 39)), "too little"),
    ],
)  # fmt: skip
def test_senseless_edits_are_turned_down_before_rendering(
    kind: EditType, before: tuple[Element, ...], after: tuple[Element, ...],
    regions: tuple[tuple[int, int, int, int], ...], reason: str,
) -> None:  # fmt: skip
    edit = Edit(kind, "do it", before, after, "flat", 0, regions)
    with pytest.raises(Rejected, match=f"^{kind.value}: .*{reason}"):
        filters.check_edit(edit, "do it")


def test_poor_pictures_are_turned_down_after_rendering() -> None:
    scene = scenes.render((GROUND, CAT), "flat")
    with pytest.raises(Rejected, match="hardly be seen"):
        filters.check_pair(EditType.ADD, scene, scene, RED.boxes)
    spilled = scenes.render((GROUND, CAT, RED), "flat")
    spilled.putpixel((5, 120), (255, 0, 255))
    with pytest.raises(Rejected, match="outside its regions"):
        filters.check_pair(EditType.ADD, scene, spilled, RED.boxes)
    with pytest.raises(Rejected, match="one colour"):
        filters.check_picture(Image.new("RGB", (8, 8), "red"))
    with pytest.raises(Rejected, match="look the same"):
        filters.check_frames([scene, scene])


# Splits -----------------------------------------------------------------------------------------------------------


def test_what_is_held_out_is_never_shown_in_training_and_always_in_tests(tmp_path: Path) -> None:
    held = [thing for thing in current().by_name if object_held_out(thing)]
    assert held and len(held) < 8 and phrases.held_out_phrasings()
    for record in [*made("edits", tmp_path / "a", 20), *made("multi-turn", tmp_path / "b", 10)]:
        shown = {thing.name for turn in record.turns if turn.truth for thing in turn.truth.elements}
        assert not shown & set(held) and not record.held_out
    for record in made("edits", tmp_path / "c", 10, "split=test"):
        assert record.split == "test" and record.held_out


def test_a_scene_is_held_out_for_its_objects_too() -> None:
    name = next(thing for thing in current().by_name if object_held_out(thing))
    scene = scenes.Scene((GROUND, Element(name=name, boxes=(CAT.boxes[0],))), "flat")
    assert f"object {name}" in held_out_of(scene)


# Going on ---------------------------------------------------------------------------------------------------------


def test_a_killed_build_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    """Killed for real (SIGKILL) in the middle, then torn by hand as a power cut would."""
    command = [sys.executable, "-m", "brushloop", "data", "build", "--recipe", "edits", "--number", "24", "--out"]
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    made("edits", whole, 24)
    process = subprocess.Popen([*command, str(cut)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if (cut / LINES).exists() and (cut / LINES).read_bytes().count(b"\n") >= 4:
            os.kill(process.pid, signal.SIGKILL)
            break
        time.sleep(0.01)
    assert process.wait() == -signal.SIGKILL
    (cut / LINES).write_bytes((cut / LINES).read_bytes()[:-9])
    report = build(recipe("edits"), cut, 24)
    assert 0 < report.resumed < 24
    for file in (LINES, "report.json", "rejected.jsonl"):
        assert (cut / file).read_bytes() == (whole / file).read_bytes(), file
    assert not list(RecordFolder(cut).problems())


def test_a_full_disk_is_told_and_the_build_goes_on_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, real, left = tmp_path / "out", os.replace, iter(range(12))

    def full(*names: str) -> None:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(*names)

    with monkeypatch.context() as patch:
        patch.setattr("brushloop.files.os.replace", full)
        with pytest.raises(UnwritableError, match="free some space"):
            build(recipe("edits"), out, 20)
    assert 0 < len(RecordFolder(out)) < 20
    build(recipe("edits"), out, 20)
    made("edits", tmp_path / "whole", 20)
    assert (out / LINES).read_bytes() == (tmp_path / "whole" / LINES).read_bytes()


def test_a_folder_holds_one_build(tmp_path: Path) -> None:
    made("edits", tmp_path / "out", 2)
    with pytest.raises(InputError, match="recipe edits with seed 0"):
        build(recipe("conflict"), tmp_path / "out", 4)
    with pytest.raises(InputError, match="seed 0"):
        build(recipe("edits"), tmp_path / "out", 4, seed=1)
    (tmp_path / "out" / "build.json").write_text("{")
    with pytest.raises(CorruptObjectError, match=r"build\.json"):
        build(recipe("edits"), tmp_path / "out", 4)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="something else"):
        build(recipe("edits"), tmp_path / "mine", 4)


def test_a_broken_record_stops_a_build_and_is_named(tmp_path: Path) -> None:
    made("edits", tmp_path / "out", 3)
    lines = (tmp_path / "out" / LINES).read_text().splitlines()
    (tmp_path / "out" / LINES).write_text("\n".join([lines[0], "{}", lines[2]]) + "\n")
    with pytest.raises(CorruptObjectError, match=r"record 1 \(line 2"):
        build(recipe("edits"), tmp_path / "out", 5)


# Recipes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("edit", (), "did you mean 'edits'"),
        ("edits", ("picture=3",), "did you mean 'pictures'"),
        ("edits", ("pictures",), "write field=value"),
        ("edits", ("pictures=99",), "pictures"),
        ("edits", ("edit=0",), "every share is 0"),
        ("edits", ("edit=-1",), "edit"),
        ("sequences", ("frames=4,5",), "frames"),
        ("self-sampled", (), "stores"),
        ("mixed", ("sampled=1", "stores=x"), "alone"),
        ("nowhere.json", (), "cannot read"),
    ],
)
def test_a_recipe_that_does_not_fit_is_told(name: str, settings: tuple[str, ...], said: str) -> None:
    with pytest.raises(InputError, match=said):
        recipe(name, settings)


def test_a_recipe_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"edit": 1, "split": "test"}))
    assert recipe(str(path)).name == "mine" and recipe(str(path)).split == "test"
    path.write_text(json.dumps({"edt": 1}))
    with pytest.raises(InputError, match="did you mean 'edit'"):
        recipe(str(path))
    path.write_text("[]")
    with pytest.raises(InputError, match="not a JSON object"):
        recipe(str(path))


def test_the_command_tells_what_it_built(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words_ = ["data", "build", "--recipe", "edits", "--number", "3", "--out", str(tmp_path / "out"), "--json"]
    assert main(words_) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["records"] == 3 and "3 of 3 records" in told.err
    assert main([*words_, "--set", "facets=3"]) == 2
    assert "fields are" in capsys.readouterr().out
    assert main(["data", "recipes", "--json"]) == 0
    assert "mixed" in json.loads(capsys.readouterr().out)["recipes"]


def test_states_of_the_loop_are_told_and_judged(tmp_path: Path) -> None:
    """The toy painter's red squares are no cats: the detector says so."""
    from fakes import SHORT, ToyPainter, ToyVLM

    Studio(ToyPainter(), ToyVLM([SHORT]), home=tmp_path / "home").paint("a cat and a red ball on a beach", id="one")
    stores = f"stores={tmp_path / 'home'}"
    assert object_held_out("cat")  # so the training split has nothing to tell of this creation
    assert build(recipe("self-sampled", [stores]), tmp_path / "none", 9).records == 0
    report = build(recipe("self-sampled", [stores, "split=test"]), tmp_path / "out", 9)
    (record,) = RecordFolder(tmp_path / "out")
    assert report.exhausted and record.source.labelled_by is not None and record.source.creation == "one"
    state, said = record.turns[1], record.turns[2]
    assert state.truth is not None and state.truth.by == "detector" and not state.loss.picture
    assert said.critique is not None and said.critique.corrections and said.loss.text
    with pytest.raises(InputError, match="no store of creations"):
        build(recipe("self-sampled", [f"stores={tmp_path / 'nowhere'}"]), tmp_path / "no", 1)
