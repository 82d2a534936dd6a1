"""Process metrics on creations of the toy world, with pixels as the witness."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes import BALL, CAT, INK, SHORT, ToyPainter, ToyVLM, look
from PIL import Image

from brushloop import Creation, Studio
from brushloop.canvas import Correction, EditType, Plan, Status, Verdict
from brushloop.cli.main import main
from brushloop.critic.prompt import Look, Seen
from brushloop.supervision.export import of_creation
from brushloop.supervision.held_out import by_category, table
from brushloop.supervision.process import Process, Rate, measure

PROMPT = "a cat and a red ball on a beach"


class Ink:
    """A witness that finds a thing where there is ink in the middle of its box."""

    def look(self, picture: Image.Image, plan: Plan, step: int) -> Look:
        findings = []
        for index, thing in enumerate(plan.elements):
            spots = [((l + r) * 40 // 200, (t + b) * 40 // 200) for l, t, r, b in thing.boxes]  # noqa: E741
            status = Status.PRESENT if all(picture.getpixel(spot) == INK for spot in spots) else Status.MISSING
            findings.append(Seen(element=index, status=status if index in plan.due(step) else Status.NOT_YET))
        return Look(findings=tuple(findings), verdict=Verdict.ACCEPT)


def miss(times: int) -> ToyPainter:
    left = iter([True] * times)
    return ToyPainter(fails=lambda request: next(left, False))


def measured(*creations: Creation) -> Process:
    return measure([(of_creation(creation), creation.store.get_image) for creation in creations], Ink())


def test_a_loop_that_sees_well_and_repairs() -> None:
    found = measured(Studio(miss(1), ToyVLM()).paint(PROMPT))
    assert found.creations == 1 and not found.left_out
    assert (found.precision["missing"].hits, found.precision["missing"].of) == (1, 1)
    assert (found.recall["any"].hits, found.recall["any"].of) == (1, 1)
    assert (found.repair.hits, found.repair.of) == (1, 1) and found.needless.hits == found.broke.hits == 0
    assert found.over_correction.hits == 0 and found.over_correction.of > 3
    assert found.rounds == [3] and found.denoising_steps[0] > 3
    assert found.never_worse_by_critic.hits == found.never_worse_by_detector.hits == found.as_planned.hits == 1
    assert all(value == 0 for values in found.drift.values() for value in values)


def test_a_critic_that_is_wrong_is_caught() -> None:
    fix = Correction(edit=EditType.ADD, instruction="add a cat", regions=(CAT,))
    blind = look("present", "missing", "present", corrections=[fix])
    wrong = {**blind, "findings": [*blind["findings"][:1], {"element": 1, "status": "wrong", "fault": "color"},
                                   *blind["findings"][2:]]}  # fmt: skip
    happy = look("present", "present", "present", verdict="accept")
    studio = Studio(ToyPainter(), ToyVLM([SHORT], looks=[wrong, happy]))
    found = measured(studio.paint(PROMPT))
    assert (found.precision["color"].hits, found.precision["color"].of) == (0, 1)
    assert found.over_correction.hits == 1 and (found.needless.hits, found.repair.of) == (1, 0)


def test_a_critic_that_sees_nothing_finds_nothing() -> None:
    happy = look("present", "present", "present", verdict="accept")
    found = measured(Studio(miss(1), ToyVLM([SHORT], looks=[happy])).paint(PROMPT))
    assert (found.recall["missing"].hits, found.recall["missing"].of) == (0, 2)
    assert found.detected.of == 2 and found.as_planned.hits == 0
    assert found.as_json()["repair"] == {"rate": None, "low": None, "high": None, "hits": 0, "of": 0}


def test_repairs_that_come_to_nothing_and_drift_are_counted() -> None:
    painter = ToyPainter(fails=lambda request: request.regions == (BALL,) or len(request.regions) == 2, spills=True)
    found = measured(Studio(painter, ToyVLM([SHORT])).paint(PROMPT, budget={"rounds": 4}))
    assert found.repair.of >= 2 and 0 < found.repair.hits < found.repair.of
    assert max(value for values in found.drift.values() for value in values) > 0


def test_plans_outside_of_the_world_are_left_out() -> None:
    plan = SHORT.model_copy(update={"elements": (SHORT.elements[0].model_copy(update={"name": "attic"}),
                                                 *SHORT.elements[1:])})  # fmt: skip
    found = measured(Studio(ToyPainter(), ToyVLM([plan])).paint(PROMPT))
    assert (found.creations, found.left_out, found.rounds) == (1, 1, [])


def test_rates_have_wilson_intervals() -> None:
    rate = Rate(8, 10).as_json()
    assert (rate["rate"], rate["low"], rate["high"]) == (0.8, 0.4902, 0.9433)  # as in Wilson's formula, by hand
    assert Rate(0, 5).as_json()["low"] == 0


def test_the_command_measures_a_store_and_exported_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "--json"]) == 2
    assert "no creation to measure" in json.loads(capsys.readouterr().out)["error"]["message"]
    Studio(miss(1), ToyVLM([SHORT])).paint(PROMPT)
    assert main(["eval", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["creations"] == 1 and found["detector"]["id"] == "judge"
    assert found["inspection"]["any"]["recall"]["of"] > 0
    assert main(["data", "export", "--all", "--out", str(tmp_path / "out"), "--json"]) == 0
    capsys.readouterr()
    assert main(["eval", "--records", str(tmp_path / "out"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == found
    assert main(["eval"]) == 0
    assert "over correction" in capsys.readouterr().out
    assert main(["eval", "--home", str(tmp_path / "nowhere")]) == 2
    (tmp_path / "weights").write_bytes(b"none")
    assert main(["eval", "--detector", str(tmp_path / "weights")]) == 3


@pytest.mark.models
def test_eval_paints_the_scene_benchmark_and_measures_it(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "--scenes", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    scenes = told["scenes"]
    assert scenes["all"]["n"] == scenes["single"]["n"] == told["creations"] == 1
    assert scenes["all"]["loop"]["right"] in (0.0, 1.0) and "points" in scenes["all"]["gain"]
    assert main(["eval", "scene-0000", "--scenes", "1"]) == 2 and "not both" in capsys.readouterr().err
    assert main(["eval", "--painter", "embedded"]) == 2 and "--scenes" in capsys.readouterr().err


def test_the_table_has_the_share_and_gain_of_each_category() -> None:
    rows = [
        {"category": kind, "one_shot": {"correct": one}, "loop": {"correct": two}}
        for kind, one, two in (("two", False, True), ("two", True, True), ("color", False, False))
    ]
    told = by_category(rows)
    assert set(told) == {"two", "color", "all"}
    assert told["two"]["one_shot"]["right"] == 0.5 and told["two"]["loop"]["right"] == 1.0
    assert told["two"]["gain"]["points"] == 50 and told["color"]["gain"]["points"] == 0
    assert told["all"]["loop"]["low"] < 2 / 3 < told["all"]["loop"]["high"]
    assert "| two | 2 | 0.50 (" in table(rows) and "+50 (" in table(rows)
