"""The embedded vision-language model: its replies always fit the schema, whatever its weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from brushloop.critic.prompt import Look
from brushloop.errors import ReplyError, WeightsError
from brushloop.vlm import Question, ask
from brushloop.vlm_embedded import IMAGE_TOKENS, EmbeddedVLM, conversation


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the recipe writes it, after two tiny steps: its words mean nothing."""
    from brushloop.train.__main__ import run

    return run("vlm", tmp_path_factory.mktemp("runs"), None, None, debug=True)


def schema(most: int) -> dict[str, object]:
    """A short list of findings, so that a model that babbles comes to an end."""
    statuses = {"enum": ["present", "missing"]}
    finding = closed({"element": {"type": "integer", "minimum": 0, "maximum": 9}, "status": statuses})
    findings = {"type": "array", "items": finding, "maxItems": most}
    return closed({"findings": findings, "verdict": {"enum": ["accept", "refine"]}})


def closed(properties: dict[str, object]) -> dict[str, object]:
    """An object that has these properties, all of them and no other."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


@pytest.mark.parametrize("seed", range(4))
def test_a_reply_always_fits_the_schema(folder: Path, seed: int) -> None:
    model = EmbeddedVLM(str(folder))
    picture = Image.effect_noise((128, 128), 90).convert("RGB")
    reply = model.ask(Question("look: a cat", schema(4), (picture,), seed=seed, temperature=1.5))
    assert Look.model_validate_json(reply.text)
    assert "".join(token.text for token in reply.tokens) == reply.text
    assert all(token.logprob is not None and token.logprob <= 0 for token in reply.tokens)
    assert reply.tokens_out == len(reply.tokens) and reply.tokens_in > IMAGE_TOKENS


def test_the_same_question_gets_the_same_reply(folder: Path) -> None:
    question = Question("plan: a cat", schema(3), seed=1, temperature=1.0)
    assert EmbeddedVLM(str(folder)).ask(question).text == EmbeddedVLM(str(folder)).ask(question).text


def test_a_reply_cut_off_by_the_token_limit_is_an_error(folder: Path) -> None:
    with pytest.raises(ReplyError, match="within 3 tokens"):
        ask(EmbeddedVLM(str(folder)), Question("plan: a cat", schema(4), max_tokens=3), Look)


def test_the_processor_writes_what_the_model_was_trained_on(folder: Path) -> None:
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(folder)
    picture = Image.effect_noise((128, 128), 90).convert("RGB")
    turn = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "look: a cat"}]}]
    text = processor.apply_chat_template(turn, add_generation_prompt=True)
    inputs = processor(text=text, images=[[picture]], return_tensors="pt")
    model = EmbeddedVLM(str(folder))
    ids = model._tokenizer.encode(conversation("look: a cat", 1), add_special_tokens=False)
    assert inputs.input_ids[0].tolist() == ids
    ours = model._pixels((picture,))
    assert ours is not None and inputs.pixel_values.shape == ours.shape
    assert torch.allclose(inputs.pixel_values, ours, atol=0.03)


def test_unknown_words_come_with_the_nearest_things(folder: Path) -> None:
    model = EmbeddedVLM(str(folder))
    assert not model.unknown_words("Two red apples, on a beach!")
    found = dict(model.unknown_words("a red dragon and a ballon"))
    assert "balloon" in found["ballon"] and "dragon" in found and "red" not in found


def test_missing_and_truncated_weights_are_named(folder: Path, tmp_path: Path) -> None:
    import shutil

    with pytest.raises(WeightsError, match="no such folder"):
        EmbeddedVLM(str(tmp_path / "none"))
    cut = shutil.copytree(folder, tmp_path / "cut")
    (cut / "model.safetensors").write_bytes((cut / "model.safetensors").read_bytes()[:5000])
    with pytest.raises(WeightsError, match=r"cannot be loaded|no whole safetensors file"):
        EmbeddedVLM(str(cut)).ask(Question("plan: a cat", schema(1)))
    (cut / "world.json").unlink()
    with pytest.raises(WeightsError, match=r"lack world\.json"):
        EmbeddedVLM(str(cut))
