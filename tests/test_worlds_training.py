"""Models are taken a step in the large world: what they build reads it, and their weights tell of it."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402
from transformers import PreTrainedTokenizerFast  # noqa: E402

from brushloop.errors import InputError, WeightsError  # noqa: E402
from brushloop.store import Store  # noqa: E402
from brushloop.supervision import judge as judging  # noqa: E402
from brushloop.supervision.build.recipes import recipe as data_recipe  # noqa: E402
from brushloop.supervision.build.run import build as build_records  # noqa: E402
from brushloop.supervision.constraints import evidence  # noqa: E402
from brushloop.supervision.judge import Detector, Judge  # noqa: E402
from brushloop.supervision.records import RecordFolder  # noqa: E402
from brushloop.supervision.world import edits, scenes, words  # noqa: E402
from brushloop.supervision.world.worlds import LARGE, SMALL, current, only  # noqa: E402
from brushloop.train import flow, judge, painter, text, vlm  # noqa: E402
from brushloop.train.__main__ import main, run  # noqa: E402
from brushloop.train.loop import Recipe, fitted  # noqa: E402
from brushloop.vlm_embedded import EmbeddedVLM  # noqa: E402

TWO = Recipe(steps=2, batch=2, lr=1e-3, warmup=1, log_every=1)
DRAWN = painter.Drawn(**vars(TWO))
SOUGHT = judge.Seeking(**vars(TWO))
TAUGHT = vlm.Taught(**vars(TWO), turns="plan look")


@pytest.fixture(autouse=True)
def few_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokenizers learn from a hundred scenes instead of thousands."""
    many = text.sentences
    monkeypatch.setattr(text, "sentences", lambda number, seed=0: many(min(number, 100), seed))


def test_a_judge_of_the_large_world_takes_a_step_and_loads_with_its_own_names(tmp_path: Path) -> None:
    path = tmp_path / "judge.safetensors"
    with only(LARGE):
        judge.train(tmp_path, recipe=replace(SOUGHT, seed=71))
        look = Judge(path)
        look.must_know(LARGE)
    assert current() is SMALL and look.names == LARGE.names  # whatever world is current where it is loaded
    sight = look.look([scenes.render((), "ink")])[0]
    assert sight.background in LARGE.backgrounds and sight.style in LARGE.styles
    seen = evidence(look.network, [scenes.render((), "ink")])[0]
    assert seen.of("objects", "sign that says open").shape == (16, 16)
    with pytest.raises(ValueError, match="knows no 'unicycle' among its objects"):
        seen.of("objects", "unicycle")


def test_a_detector_of_another_world_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = Judge()
    shipped.must_know(SMALL)
    shipped.must_know(SMALL.part("few", ("apple", "star")))
    with pytest.raises(WeightsError, match=r"another world \(44 objects.*does not know \d+ names of 'large', such as"):
        shipped.must_know(LARGE)
    path = tmp_path / "odd.safetensors"
    judging.save(Detector(LARGE.names), path, SMALL)  # names that do not fit what is in it
    with pytest.raises(WeightsError, match="holds no detector of the world 'small'"):
        Judge(path)


def test_the_painter_takes_a_step_in_the_large_world() -> None:
    from brushloop.train.autoencoder import build

    torch.manual_seed(0)
    vae = build()
    vae.register_to_config(shift_factor=0.0, scaling_factor=1.0)
    with only(LARGE):
        task = painter.Painting(DRAWN, vae, width=32, layers=(1, 1))
        loss, _ = task.loss(1)
        loss.backward()
    known = task.tokenizer_2.get_vocab()
    assert torch.isfinite(loss) and {"▁crimson", "▁burrito", "▁linocut", "▁zoo"} <= set(known)
    assert len(known) > len(text.t5_tokenizer().get_vocab()) + 300


def test_a_judge_of_the_large_world_begins_with_one_of_the_small(tmp_path: Path) -> None:
    from brushloop.supervision.judge import WEIGHTS, load

    with only(LARGE):
        task = judge.Detection(replace(SOUGHT, seed=71))
        fresh = task.module.cells.weight.detach().clone()
        task.begin(WEIGHTS)
    small = load(WEIGHTS)
    of, was = LARGE.names, small.names
    places = [(0, 0), (4, 4)]
    places += [(5 + of.objects.index(name), 5 + was.objects.index(name)) for name in ("apple", "hat")]
    places += [
        (5 + len(of.objects) + of.colors.index(name), 5 + len(was.objects) + was.colors.index(name))
        for name in ("red", "purple")
    ]
    for here, there in places:
        assert torch.equal(task.module.cells.weight[here], small.cells.weight[there])
        assert torch.equal(task.module.cells.bias[here], small.cells.bias[there])
    here = len(of.backgrounds) + of.styles.index("soft")
    assert torch.equal(
        task.module.scene.weight[here], small.scene.weight[len(was.backgrounds) + was.styles.index("soft")]
    )
    new = 5 + of.objects.index("burrito")
    assert torch.equal(task.module.cells.weight[new], fresh[new])
    kept, learned = task.module.body.state_dict(), small.body.state_dict()
    assert all(torch.equal(kept[name], learned[name]) for name in kept if not name.endswith("num_batches_tracked"))


@pytest.mark.parametrize("seed", [71, 72])
def test_a_crowd_shows_more_and_nothing_that_is_kept_from_training(seed: int) -> None:
    with only(LARGE):
        alone, crowd = (judge.Detection(replace(SOUGHT, seed=seed, batch=24, crowd=number)) for number in (0, 16))
        few, many = alone.batch(0)[1], crowd.batch(0)[1]
        kept_out = scenes.is_held_out if seed == 72 else judge.held_out
        assert not any(kept_out(scene) for scene in many)
    assert sum(len(scene.elements) for scene in many) > 2 * sum(len(scene.elements) for scene in few)
    for scene in many:
        boxes = [box for thing in scene.elements for box in thing.boxes]
        assert all(scenes.apart(box, boxes[:at]) for at, box in enumerate(boxes))


@pytest.mark.parametrize(("world", "own"), [("small", "embedded"), ("large", "embedded:large")])
def test_states_of_a_world_are_painted_by_the_models_that_know_it(
    world: str, own: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[tuple[Any, ...]]()

    class Noted:
        store = Store(tmp_path / "states")

        def __init__(self, painter: str, vlm: str, home: Path) -> None:
            asked.append((home, painter, vlm))

        def paint(self, prompt: str, **given: Any) -> None:
            asked.append((given["id"],))

    monkeypatch.setattr("brushloop.train.closed.Studio", Noted)
    assert main(["states", "--steps", "3", "--world", world, "--runs", str(tmp_path)]) == 0
    assert asked == [(tmp_path / "states", own, own), *((f"sample-0-{number:05d}",) for number in range(3))]


def test_a_compiled_step_is_the_same_step_and_draws_are_of_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    from brushloop.train.autoencoder import build

    seen = list[tuple[int, bool]]()

    def compiled(function: Any, dynamic: bool) -> Any:
        assert not dynamic

        def run(transformer: Any, mixed: torch.Tensor, *rest: Any) -> torch.Tensor:
            seen.append((len(mixed), rest[-2] is not None))
            return function(transformer, mixed, *rest)

        return run

    monkeypatch.setattr(torch, "compile", compiled)
    torch.manual_seed(0)
    vae = build()
    vae.register_to_config(shift_factor=0.0, scaling_factor=1.0)
    losses = list[list[float]]()
    for recipe in (DRAWN, replace(DRAWN, compiled=True), replace(DRAWN, compiled=True, draws=2)):
        torch.manual_seed(1)
        task = painter.Painting(recipe, vae, width=32, layers=(1, 1))
        losses.append([task.loss(step)[0].item() for step in (0, 1, 3, 5)])  # window, paint, placed, edit
    assert losses[1] == pytest.approx(losses[0], rel=5e-3)  # of bfloat16
    clues = [True, False, True, True]
    assert seen == list(zip([8, 4, 4, 2], clues, strict=True)) + list(zip([4, 2, 2, 2], clues, strict=True))


def test_a_recipe_says_what_a_painter_is_shown_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    from brushloop.train.autoencoder import build

    torch.manual_seed(0)
    vae, seen, sample = build(), list[str](), edits.sample
    vae.register_to_config(shift_factor=0.0, scaling_factor=1.0)

    def watched(*given: Any) -> edits.Edit:
        edit = sample(*given)
        seen.append(edit.kind.value)
        return edit

    task = painter.Painting(fitted(replace(DRAWN, batch=8), ["turns=placed new"]), vae, width=32, layers=(1, 1))
    monkeypatch.setattr(edits, "sample", watched)
    assert set(task.loss(0)[1]) == {"placed"} and not seen
    assert set(task.loss(1)[1]) == {"new"} and set(seen) == {"add", "replace"}
    asked = list[float]()
    monkeypatch.setattr(painter, "noised", lambda clean, shift: asked.append(shift) or flow.noised(clean, shift))
    task.loss(0)
    task.recipe = replace(task.recipe, shift=1.5)
    task.loss(1)
    assert asked == [flow.SHIFT, 1.5]
    with pytest.raises(InputError, match="no turn 'windows'; did you mean 'window'"):
        painter.Painting(fitted(DRAWN, ["turns=placed windows"]), vae)
    with pytest.raises(InputError, match="field turns of the recipe names none"):
        painter.Painting(fitted(DRAWN, ["turns= "]), vae)


def test_a_painter_of_the_large_world_begins_with_one_of_the_small(tmp_path: Path) -> None:
    from brushloop.train.autoencoder import Reconstruction, build

    torch.manual_seed(0)
    vae = build()
    vae.register_to_config(shift_factor=0.0, scaling_factor=1.0)
    small = painter.Painting(DRAWN, vae, width=32, layers=(1, 1))
    painter.save(small, copy.deepcopy(small.module).float(), tmp_path)
    with only(LARGE):
        task = painter.Painting(DRAWN, vae, width=32, layers=(1, 1))
        fresh = task.module["text_encoder_2"].shared.weight.detach().clone()
        task.begin(tmp_path)
        with pytest.raises(WeightsError, match=r"is of another architecture: .* there and .* here"):
            painter.Painting(DRAWN, vae, width=64, layers=(1, 1)).begin(tmp_path)
        latent = Reconstruction(TWO)
        latent.begin(tmp_path)
        with pytest.raises(WeightsError, match="holds no safetensors"):
            latent.begin(tmp_path / "scheduler")
    words, before = task.module["text_encoder_2"].shared.weight, small.module["text_encoder_2"].shared.weight
    of, was = task.tokenizer_2.get_vocab(), small.tokenizer_2.get_vocab()
    assert torch.equal(words[of["▁octopus"]], before[was["▁octopus"]].bfloat16().float())
    assert torch.equal(words[of["▁burrito"]], fresh[of["▁burrito"]]) and of["▁octopus"] != was["▁octopus"]
    for ours, theirs in ((task.module["transformer"], small.module["transformer"]), (latent.module, vae)):
        assert all(
            torch.equal(one, two.bfloat16().float())
            for one, two in zip(ours.parameters(), theirs.parameters(), strict=True)
        )


def test_a_vision_language_model_begins_with_the_weights_of_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its text model too, which the first stage leaves alone."""
    monkeypatch.setattr(vlm, "LEARNED", 60)
    monkeypatch.setattr(vlm, "build", partial(vlm.build, sight=32, text=32))
    still = replace(TAUGHT, lr=0.0)
    vlm.train(tmp_path / "one", tower=still, recipe=still)
    with only(LARGE):
        begun = replace(still, begin=str(tmp_path / "one" / "vlm"))
        vlm.train(tmp_path / "two", tower=still, recipe=begun)
    name = "model.text_model.embed_tokens.weight"
    learned, rows = list[dict[str, torch.Tensor]](), list[torch.Tensor]()
    for made in (tmp_path / "one" / "vlm", tmp_path / "two" / "vlm"):
        learned.append(load_file(made / "model.safetensors"))
        tokens = PreTrainedTokenizerFast.from_pretrained(made)
        rows.append(learned[-1].pop(name)[tokens.convert_tokens_to_ids(',"asked":"')])
    assert torch.equal(*rows) and all(torch.equal(tensor, learned[1][name]) for name, tensor in learned[0].items())


def test_the_vision_language_model_takes_steps_in_the_large_world(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(vlm, "LEARNED", 60)
    with only(LARGE):
        tokens = vlm.tokenizer()
        reading = vlm.Reading(vlm.build(tokens, sight=32, text=32))
        touch = vlm.Touch(None)
        losses = [vlm.TowerTask(TWO, reading, touch).loss(0)[0]]
        lessons = vlm.Lessons(replace(TAUGHT, turns="look conclude"), reading, tokens, touch)
        losses += [lessons.loss(step)[0] for step in (0, 1)]
        assert [set(lessons.loss(step)[1]) for step in (0, 1)] == [{"look", "sight"}, {"conclude"}]
        with pytest.raises(InputError, match="no turn 'plans'; did you mean 'plan'"):
            vlm.Lessons(replace(TAUGHT, turns="plans"), reading, tokens, touch)
    assert reading.eyes.names == LARGE.names and all(torch.isfinite(loss) for loss in losses)


def test_the_card_of_a_large_model_tells_its_world_and_its_words() -> None:
    with only(LARGE):
        card = json.loads(json.dumps(vlm.world_card()))
    assert card["world"] == ["large", LARGE.digest] and "sign that says zoo" in card["objects"]
    model = EmbeddedVLM()
    model.world = card
    named = model.named("a crimson automobile, a couple of hot dogs and a dog beside a pair of jeans")
    assert named == [("red", 1, 1), ("car", 1, 1), ("hot dog", 2, 2), ("dog", 1, 1), ("pair of jeans", 1, 1)]
    assert model.unknown_words("show me a scarlet lorry in the woods, linocut style") == []
    assert [word for word, _ in model.unknown_words("a unicycle")] == ["unicycle"]
    assert "means" not in vlm.world_card()


def test_prompts_of_the_large_world_fit_the_painter_and_have_no_unknown_words() -> None:
    import random

    rng, long = random.Random(0), 0
    with only(LARGE):
        tokens = text.t5_tokenizer()
        for number in range(300):
            said = words.prompt(scenes.sample(rng), rng, training=number % 2 == 0)[0]
            ids = tokens(said).input_ids
            long += len(ids) > painter.LENGTH
            assert tokens.unk_token_id not in ids, said
    assert long <= 6


def test_records_are_built_in_the_world_that_the_recipe_names(tmp_path: Path) -> None:
    build_records(data_recipe("whole", ["world=large"]), tmp_path / "large", 8)
    shown = {thing.name for record in RecordFolder(tmp_path / "large") for thing in record.turns[-1].truth.elements}
    assert current() is SMALL and shown <= {*LARGE.by_name, *LARGE.backgrounds} and shown - set(SMALL.by_name)
    with pytest.raises(InputError, match=r"no world 'larg' \(did you mean 'large'"):
        build_records(data_recipe("whole", ["world=larg"]), tmp_path / "none", 1)


def test_the_first_stage_of_the_vlm_is_told_with_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(vlm, "train", lambda *given: told.extend(given))
    run("vlm", tmp_path, 7, None, False, ["tower=3", "parts=2", "batch=5"])
    tower, lessons = told[2:4]
    assert (tower.steps, tower.parts, tower.batch) == (3, 2, vlm.TOWER.batch)
    assert (lessons.steps, lessons.parts, lessons.batch) == (7, 2, 5)
