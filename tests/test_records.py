"""Process records: the schema, broken ones, and going out to other formats and back without a loss."""

from __future__ import annotations

import gc
import json
import random
from pathlib import Path
from typing import Any

import pytest
from fakes import BALL, SHORT, ToyPainter, ToyVLM, add
from PIL import Image

from brushloop import Studio
from brushloop.canvas import Critique, Finding, Status, Task, Verdict
from brushloop.cli.main import main
from brushloop.errors import CorruptObjectError, InputError, MissingObjectError, VersionError
from brushloop.supervision.build.recipes import recipe
from brushloop.supervision.build.run import build
from brushloop.supervision.export import export, of_creation
from brushloop.supervision.formats import load, read_shards, record_of, write_shards
from brushloop.supervision.records import LINES, Loss, Record, RecordFolder, Source, Turn, TurnKind, read_record

PROMPT = "a cat and a red ball on a beach"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> RecordFolder:
    out = tmp_path_factory.mktemp("data") / "mixed"
    build(recipe("mixed"), out, 14)
    return RecordFolder(out)


def miss(times: int) -> ToyPainter:
    left = iter([True] * times)
    return ToyPainter(fails=lambda request: next(left, False))


def told(*turns: Turn) -> Record:
    source = Source(name="test", licence="Apache-2.0")
    return Record(id="one", task=Task.PAINT, prompt="a cat", turns=turns, source=source)


def spoil(folder: RecordFolder, number: int, **changes: Any) -> None:
    lines = (folder.path / LINES).read_text().splitlines()
    lines[number] = json.dumps(json.loads(lines[number]) | changes)
    (folder.path / LINES).write_text("\n".join(lines) + "\n")


def copy(folder: RecordFolder, out: Path, most: int = 3) -> RecordFolder:
    made = RecordFolder(out)
    for record in list(folder)[:most]:
        for frame in record.pictures:
            made.put(folder.image(frame))
        made.append(record)
    return made


def test_a_line_read_back_is_the_record(built: RecordFolder) -> None:
    records = list(built)
    assert len(records) == len(built) == 14
    assert all(read_record(record.line(), "it") == record for record in records)
    assert not list(built.problems())


def test_tar_shards_and_back(built: RecordFolder, tmp_path: Path) -> None:
    shards = write_shards(built, tmp_path / "tar", each=5)
    assert [shard.name for shard in shards] == [f"records-0000{n}.tar" for n in range(3)]
    assert [p.read_bytes() for p in write_shards(built, tmp_path / "again", each=5)] == [p.read_bytes() for p in shards]
    back = RecordFolder(tmp_path / "back")
    assert read_shards(shards, back) == 14
    assert (back.path / LINES).read_bytes() == (built.path / LINES).read_bytes()
    assert not list(back.problems())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it leaves its tar file open
def test_webdataset_reads_the_shards(built: RecordFolder, tmp_path: Path) -> None:
    import webdataset

    shards = [str(path) for path in write_shards(built, tmp_path / "tar")]
    samples = list(webdataset.WebDataset(shards, shardshuffle=False).decode("pil"))
    gc.collect()
    records = list(built)
    assert [sample["__key__"] for sample in samples] == [record.id for record in records]
    for sample, record in zip(samples, records, strict=True):
        assert Record.model_validate(sample["json"]) == record
        shown = [sample[f"{index}.png"] for index in range(len(record.pictures))]
        assert [image.tobytes() for image in shown] == [built.image(frame).tobytes() for frame in record.pictures]


def test_a_dataset_and_back(built: RecordFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    assert [record_of(row) for row in load(built)] == list(built)


def test_a_dataset_of_a_loop_has_the_same_columns(
    built: RecordFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    folder = RecordFolder(tmp_path / "loop")
    record = export(Studio(miss(1), ToyVLM()).paint(PROMPT), folder)
    rows = load(folder)
    assert rows.features == load(built).features
    assert [record_of(row) for row in rows] == [record]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"prompt": 3}, "prompt"),
        ({"task": "dance"}, "task"),
        ({"turns": []}, "turns"),
        ({"licence": "MIT"}, "licence"),
        ({"turns": [{"kind": "state", "by": "model", "of": 0}]}, "turns.0.of"),
        ({"turns": [{"kind": "state", "by": "model", "loss": {"picture": True}}]}, "turns.0.loss.picture"),
        ({"turns": [{"kind": "plan", "by": "model", "loss": {"text": True}}]}, "turns.0.loss.text"),
        ({"turns": [{"kind": "state", "by": "model", "picture": {"hash": "ab"}}]}, "turns.0.picture.hash"),
    ],
)
def test_a_broken_record_is_named_with_its_field(
    built: RecordFolder, tmp_path: Path, changes: dict[str, Any], field: str
) -> None:
    folder = copy(built, tmp_path / "some")
    spoil(folder, 1, layout=None, **changes)
    with pytest.raises(CorruptObjectError) as caught:
        list(folder)
    assert "record 1 (line 2 of" in str(caught.value) and field in str(caught.value)
    (problem,) = folder.problems()
    assert field in problem


def test_a_later_version_asks_for_an_upgrade(built: RecordFolder, tmp_path: Path) -> None:
    folder = copy(built, tmp_path / "some")
    spoil(folder, 2, version=99)
    with pytest.raises(VersionError, match=r"record 2 .* has format 99"):
        list(folder)


def test_a_missing_picture_and_a_changed_one_are_named(built: RecordFolder, tmp_path: Path) -> None:
    folder = copy(built, tmp_path / "some")
    first, second = list(folder)[:2]
    gone, changed = first.pictures[0], second.pictures[0]
    assert gone != changed
    Path(folder.objects.image_path(gone)).unlink()
    Path(folder.objects.image_path(changed)).write_bytes(b"no picture")
    with pytest.raises(MissingObjectError, match=f"record {first.id}: .*{gone.hash}"):
        folder.image(gone, first)
    with pytest.raises(CorruptObjectError, match=f"record {second.id}"):
        folder.image(changed, second)
    assert main(["data", "check", str(folder.path)]) == 4
    with pytest.raises(MissingObjectError, match=first.id):
        write_shards(folder, tmp_path / "tar")


def test_a_torn_last_line_is_cut_off(built: RecordFolder, tmp_path: Path) -> None:
    folder = copy(built, tmp_path / "some")
    with open(folder.path / LINES, "ab") as file:
        file.write(b'{"version": 1, "id": "to')
    assert folder.mend() == 3
    assert len(list(folder)) == 3


def test_an_empty_folder_is_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no folder of records"):
        RecordFolder.open(tmp_path)


def test_ids_are_told_twice(built: RecordFolder, tmp_path: Path) -> None:
    folder = copy(built, tmp_path / "some", 1)
    folder.append(next(iter(folder)))
    assert "was there before" in next(folder.problems())


# Creations --------------------------------------------------------------------------------------------------------


def test_an_accepted_creation_teaches_its_plan_and_its_accepted_pictures(tmp_path: Path) -> None:
    creation = Studio(miss(1), ToyVLM()).paint(PROMPT)
    record = export(creation, folder := RecordFolder(tmp_path / "out"))
    kinds = [turn.kind.value for turn in record.turns]
    assert kinds == ["plan", "state", "reflection", "refinement", "reflection", "state", "reflection", "finish"]
    assert [number for number, turn in enumerate(record.turns) if turn.loss.picture] == [3, 5]
    assert [number for number, turn in enumerate(record.turns) if turn.loss.text] == [0]
    assert [turn.of for turn in record.turns] == [None, None, 1, 1, 3, 3, 5, 5]
    refined = record.turns[3]
    assert refined.correction is not None and refined.correction.regions == refined.regions
    assert refined.denoising_steps and refined.drift is not None
    assert [turn.step for turn in record.turns] == creation.hashes[1:]
    assert list(folder) == [record] and not list(folder.problems())


def test_what_people_say_and_paint_teaches(tmp_path: Path) -> None:
    studio = Studio(miss(9), ToyVLM([SHORT], corrects=True))
    creation = studio.paint(PROMPT, pause=["before:refine"])
    creation = studio.answer(creation.id, add("ball", BALL), pause=["before:refine"])
    assert not creation.finished
    findings = (Finding(element=0, status=Status.PRESENT), Finding(element=1, status=Status.WRONG))
    word = Critique(findings=findings, corrections=(add("cat", (1, 1, 9, 9)),), verdict=Verdict.REFINE)
    creation = studio.answer(creation.id, word, pause=["before:refine"])
    picture = Image.new("RGB", (40, 40), (9, 90, 9))
    creation = studio.answer(creation.id, picture)
    record = of_creation(creation)
    people = [turn for turn in record.turns if turn.by == "person"]
    assert [turn.kind for turn in people] == [TurnKind.REFLECTION, TurnKind.REFLECTION, TurnKind.REFINEMENT]
    assert [turn.loss for turn in people] == [Loss(text=True), Loss(text=True), Loss(picture=True)]
    assert people[2].picture is not None and record.source.licence == "LicenseRef-user"


def test_a_creation_that_was_not_accepted_teaches_nothing_of_its_own() -> None:
    creation = Studio(ToyPainter(fails=lambda request: True), ToyVLM()).paint(PROMPT, budget={"rounds": 3})
    record = of_creation(creation)
    assert all(turn.loss == Loss() for turn in record.turns)


def test_an_edit_keeps_the_picture_given_and_its_mask(tmp_path: Path) -> None:
    mask = Image.new("L", (40, 40), 255)
    creation = Studio(ToyPainter(), ToyVLM()).edit(Image.new("RGB", (40, 40), "white"), "add a ball", mask)
    record = export(creation, folder := RecordFolder(tmp_path))
    given = record.turns[0]
    assert record.task is Task.EDIT and given.kind is TurnKind.GIVEN and given.mask is not None
    assert not list(folder.problems())


def test_every_creation_of_a_store_is_exported_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    studio, out = Studio(ToyPainter(), ToyVLM([SHORT])), tmp_path / "out"
    first = studio.paint(PROMPT, id="first")
    assert main(["data", "export", "--all", "--out", str(out), "--json"]) == 0
    studio.paint(PROMPT, seed=1, id="second")
    assert json.loads(capsys.readouterr().out)["records"] == [first.id]
    assert main(["data", "export", "--all", "--out", str(out)]) == 0
    assert [record.id for record in RecordFolder(out)] == ["first", "second"]
    assert main(["data", "export", "first", "--out", str(out)]) == 2
    assert main(["data", "export", "nobody", "--out", str(out)]) == 2
    assert main(["data", "check", str(out)]) == 0


def test_any_record_survives_its_line() -> None:
    rng = random.Random(0)
    for _ in range(50):
        seed, drift = rng.getrandbits(63), rng.random()
        turn = Turn(kind=TurnKind.PLAN, by="model", text="\u2028 \x7f 猫 \"'", seed=seed, drift=drift)
        record = told(turn)
        assert read_record(record.line(), "it") == record
        assert b"\n" not in record.line()
