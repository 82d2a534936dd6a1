"""Further sets of models in the package: `embedded:SET` wherever a model is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from brushloop import Studio
from brushloop.agent.names import makers_of
from brushloop.cli.main import app
from brushloop.errors import BackendError, InputError, OutsideWorldError, WeightsError
from brushloop.painter.base import open_painter
from brushloop.painter.domains import domains
from brushloop.painter.flux import FluxPainter
from brushloop.painter.workshop import Workshop
from brushloop.supervision import judge
from brushloop.supervision.world.worlds import known_to, within
from brushloop.train import __main__ as train
from brushloop.vlm import open_vlm
from brushloop.weights import SHIPPED, called, folder_of, sets

pytestmark = pytest.mark.models


@pytest.fixture(autouse=True)
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with a further set of models, `large`: what ships, once more."""
    shelf = tmp_path / "models"
    shutil.copytree(SHIPPED, shelf / "large", ignore=shutil.ignore_patterns("adapters", "large"))
    for name in ("painter", "vlm", "adapters"):
        (shelf / name).symlink_to(SHIPPED / name)
    for module in ("brushloop.weights", "brushloop.train.__main__"):
        monkeypatch.setattr(f"{module}.SHIPPED", shelf)
    return shelf


def test_a_set_goes_by_its_name(shelf: Path) -> None:
    assert sets() == ("large",)
    for name, backend, folder in (
        ("embedded", "flux", None),
        ("embedded:large", "flux", "embedded:large"),
        ("embedded:large", "hf", "embedded:large"),
        ("flux:here", "flux", "here"),
        ("hf:a/b", "hf", "a/b"),
    ):
        assert folder_of(name, backend) == folder
        assert called(folder, backend) == name, "and back"
    painter, vlm = open_painter("embedded:large"), open_vlm("embedded:large")
    assert isinstance(painter, FluxPainter) and painter.weights.folder == shelf / "large" / "painter"
    assert (painter.ref.id, vlm.ref.id) == ("embedded:large", "embedded:large")
    assert open_vlm("embedded").ref.id == "embedded"


@pytest.mark.parametrize("name", ["embedded:larg", "embedded:", "embedded:../vlm", "flux:", "hf:x", "else"])
def test_a_set_that_there_is_not_is_told_with_those_that_there_are(name: str) -> None:
    with pytest.raises(BackendError, match="use embedded, embedded:large, or flux:<folder>") as caught:
        open_painter(name)
    assert ("did you mean embedded:large?" in str(caught.value)) == name.startswith("embedded:")


def test_what_is_laid_over_the_small_painter_does_not_fit_another() -> None:
    with pytest.raises(BackendError, match="fits embedded alone"):
        open_painter("embedded:large?editor=installed")
    with pytest.raises(BackendError, match="takes no option but"):
        open_painter("embedded:large?dtype=bf16")
    assert Workshop("embedded").domains() and not Workshop("embedded:large").domains()
    with pytest.raises(WeightsError, match="is installed for embedded:large"):
        Workshop("embedded:large").check(next(each for each in domains() if each.drawn), reads=False)


def test_a_creation_of_a_set_is_recorded_resumed_and_judged_as_such(tmp_path: Path) -> None:
    studio = Studio("embedded:large", "embedded:large", home=tmp_path / "home")
    creation = studio.paint("a red apple", seed=1)
    assert makers_of(creation) == ("embedded:large", "embedded:large")
    assert {step.model.id for step in creation.steps if step.model} == {"embedded:large"}
    assert studio.paint("a red apple", seed=1, id="again").image.tobytes() == creation.image.tobytes()
    assert (known_to("embedded:large"), known_to("embedded"), known_to("hf:large")) == ("large", "small", "small")


def test_models_tells_what_a_set_knows() -> None:
    said = CliRunner().invoke(app, ["models", "embedded:large", "--json"])
    assert said.exit_code == 0 and {each["id"] for each in json.loads(said.stdout)["models"]} == {"embedded:large"}
    assert json.loads(said.stdout)["sets"] == ["embedded", "embedded:large"]
    told = CliRunner().invoke(app, ["models"]).stdout
    assert "sets         embedded, embedded:large" in told
    assert CliRunner().invoke(app, ["models", "flux:here"]).exit_code


def test_a_word_that_a_set_knows_is_told_where_it_is_not_known(shelf: Path, tmp_path: Path) -> None:
    studio = Studio(home=tmp_path / "home")
    with pytest.raises(OutsideWorldError, match="words of its world, or a larger model"):
        studio.paint("a red zeppelin")
    card = shelf / "large" / "vlm" / "world.json"
    world = json.loads(card.read_text())
    card.write_text(json.dumps({**world, "words": [*world["words"], "zeppelin"]}))
    with pytest.raises(OutsideWorldError, match="of its world, or embedded:large as painter and vlm"):
        studio.paint("a red zeppelin")
    card.unlink()
    with pytest.raises(OutsideWorldError, match="or a larger model"):
        studio.paint("a red zeppelin")


def test_what_is_learned_in_another_world_is_installed_as_a_set_of_its_name(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "WEIGHTS", tmp_path / "judge.safetensors")
    (tmp_path / "judge.safetensors").write_bytes(b"small")
    made = tmp_path / "made"
    made.mkdir()
    (made / "config.json").write_text("{}")
    file = tmp_path / "made.safetensors"
    file.write_bytes(b"large")
    with within("large"):
        assert train.install("vlm", made) == shelf / "large" / "vlm"
        assert judge.weights_of("large").read_bytes() == b"small", "there is none yet"
        train.install("judge", file)
        with pytest.raises(InputError, match="a painter of the world 'large'"):
            train.install("process", file)
    assert sorted(path.name for path in (shelf / "large" / "vlm").iterdir()) == ["README.md", "config.json"]
    assert judge.weights_of("large").read_bytes() == b"large" and judge.weights_of("small").read_bytes() == b"small"
    assert (shelf / "vlm" / "model.safetensors").is_file(), "what ships by itself is as it was"


def test_a_run_may_begin_with_a_set(shelf: Path) -> None:
    assert train._shipped("painter", "embedded:large") == shelf / "large" / "painter"
    assert train._shipped("vlm", "embedded") == shelf / "vlm"
    with pytest.raises(BackendError, match="use embedded, embedded:large"):
        train._shipped("painter", "embedded:huge")
