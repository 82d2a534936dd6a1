"""Any transformers model: random weights of two families, asked through their own templates and processors."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tiny_family import flux3, tokenizer

from brushloop.critic.prompt import Look
from brushloop.errors import BackendError, ContextError, WeightsError
from brushloop.vlm import Question, Reply, open_vlm
from brushloop.vlm_grammar import spelled
from brushloop.vlm_hf import HubVLM, without_video

PICTURE = Image.effect_noise((64, 64), 90).convert("RGB")
TEXT: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
}


def qwen2_vl(folder: Path) -> None:
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    marks = ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")
    tokens = tokenizer("<|im_end|>", *marks, shape="<|vision_start|><|image_pad|><|vision_end|>")
    image, video, start, stop = tokens.convert_tokens_to_ids(list(marks))
    config = Qwen2VLConfig(
        text_config={
            **TEXT,
            "vocab_size": len(tokens),
            "bos_token_id": None,
            "eos_token_id": tokens.eos_token_id,
            "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e4},
        },
        vision_config={"embed_dim": 32, "hidden_size": 32, "depth": 2, "num_heads": 2, "patch_size": 8, "mlp_ratio": 2},
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=stop,
    )
    save(Qwen2VLForConditionalGeneration(config), folder)
    images = Qwen2VLImageProcessorPil(patch_size=8, size={"shortest_edge": 256, "longest_edge": 4096})
    processor = without_video("Qwen2VLProcessor")
    processor(images, tokens, chat_template=tokens.chat_template).save_pretrained(folder)


def idefics3(folder: Path) -> None:
    from transformers import (
        Idefics3Config,
        Idefics3ForConditionalGeneration,
        Idefics3ImageProcessorPil,
        Idefics3Processor,
    )

    tokens = tokenizer("<end_of_utterance>", "<image>", "<fake_token_around_image>", "<global-img>")
    config = Idefics3Config(
        text_config={**TEXT, "model_type": "llama", "vocab_size": len(tokens)},
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 64,
            "patch_size": 8,
        },
        image_token_id=tokens.convert_tokens_to_ids("<image>"),
        scale_factor=2,
    )
    save(Idefics3ForConditionalGeneration(config), folder)
    edge = {"longest_edge": 64}
    images = Idefics3ImageProcessorPil(do_image_splitting=False, size=edge, max_image_size=edge)
    Idefics3Processor(images, tokens, image_seq_len=16, chat_template=tokens.chat_template).save_pretrained(folder)


def save(model: Any, folder: Path) -> None:
    """Weights with some spread, so that their choices differ."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)


FAMILIES = {"qwen2_vl": qwen2_vl, "idefics3": idefics3, "flux3": flux3}
"""The last is a painter's folder, whose text encoder is a Qwen3-VL."""


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp(request.param)
    FAMILIES[request.param](made)
    return made


def schema() -> dict[str, Any]:
    """Two findings and a verdict: short, whatever the weights."""
    one = {"element": {"enum": [0, 1, 2]}, "status": {"enum": ["present", "missing"]}}
    many = {"type": "array", "items": closed(one), "minItems": 1, "maxItems": 2}
    return closed({"findings": many, "verdict": {"enum": ["accept", "refine"]}})


def closed(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def question(*images: Image.Image, **more: Any) -> Question:
    return Question("look: a red cat", schema(), images, **more)


def test_a_reply_fits_the_schema_with_and_without_pictures(folder: Path) -> None:
    model = open_vlm(f"hf:{folder}")
    assert model.ref.id == f"hf:{folder}" and len(model.ref.weights) == 64 and model.unknown_words("zxy") == ()
    for images in ((PICTURE, PICTURE), ()):
        for seed in range(3):
            reply = model.ask(question(*images, seed=seed, temperature=1.5, instructions="Answer in JSON."))
            assert Look.model_validate_json(reply.text) and not reply.cut
            assert "".join(token.text for token in reply.tokens) == reply.text
            assert reply.tokens_out == len(reply.tokens) > 5


@torch.inference_mode()
def test_its_log_probabilities_are_those_of_one_pass_over_everything(folder: Path) -> None:
    """So neither the cache, nor positions beside pictures, nor what was asked before has an influence."""
    model = HubVLM(str(folder))
    model.ask(question(PICTURE, PICTURE))
    for asked in (question(), question(PICTURE)):
        reply = model.ask(asked)
        inputs = model._inputs(asked)
        ids = model._processor.tokenizer.encode(reply.text, add_special_tokens=False)
        if [model._vocabulary.decode_bytes([i]).decode() for i in ids] != [token.text for token in reply.tokens]:
            ids = [i for token in reply.tokens for i in model._vocabulary.tokenize_str(token.text)]
        whole = torch.cat([inputs["input_ids"], torch.tensor([ids])], dim=1)
        extra = {key: value for key, value in inputs.items() if key not in ("input_ids", "attention_mask")}
        if "mm_token_type_ids" in extra:
            zeros = torch.zeros(1, len(ids), dtype=extra["mm_token_type_ids"].dtype)
            extra["mm_token_type_ids"] = torch.cat([extra["mm_token_type_ids"], zeros], dim=1)
        logits = model._model(input_ids=whole, **extra).logits[0, inputs["input_ids"].shape[1] - 1 : -1]
        free = [i for i, token in enumerate(reply.tokens) if token.logprob not in (None, 0.0)]
        assert free, "somewhere the model had a choice"
        for i in free:
            allowed = allowed_at(model, asked, ids[:i])
            told = logits[i].masked_fill(~allowed, float("-inf")).log_softmax(-1)[ids[i]]
            assert float(told) == pytest.approx(reply.tokens[i].logprob, abs=1e-3)


def allowed_at(model: HubVLM, asked: Question, ids: list[int]) -> torch.Tensor:
    """Which tokens the schema lets follow on `ids`."""
    import llguidance
    import llguidance.numpy

    grammar = llguidance.LLMatcher.grammar_from_json_schema(asked.schema, defaults={"whitespace_flexible": False})
    matcher = llguidance.LLMatcher(model._vocabulary, grammar)
    matcher.consume_tokens(ids)
    mask = llguidance.numpy.allocate_token_bitmask(1, model._vocabulary.vocab_size)
    llguidance.numpy.fill_next_token_bitmask(matcher, mask)
    flat = torch.zeros(1, model._vocabulary.vocab_size)
    llguidance.numpy.apply_token_bitmask_inplace(flat.numpy(), mask)
    return flat[0] == 0


def test_temperature_0_is_repeatable_and_a_seed_too(folder: Path) -> None:
    model = HubVLM(str(folder))
    for asked in (question(PICTURE), question(PICTURE, seed=5, temperature=1.0)):
        assert model.ask(asked) == model.ask(asked)


def test_a_token_limit_cuts_and_says_so(folder: Path) -> None:
    reply = HubVLM(str(folder)).ask(question(max_tokens=4))
    assert reply.cut and isinstance(reply, Reply)


def test_a_question_beyond_the_context(folder: Path) -> None:
    with pytest.raises(ContextError, match="reads at most 512"):
        HubVLM(str(folder)).ask(question(instructions="a red cat " * 300))


def test_a_template_without_a_system_turn_gets_the_instructions_first(folder: Path, tmp_path: Path) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    template = HubVLM(str(other)).words.folder / "chat_template.jinja"
    refuses = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no System role') }}{% endif %}"
    template.write_text(refuses + template.read_text())
    model = HubVLM(str(other))
    inputs = model._inputs(question(instructions="Answer in JSON."))
    text = model._processor.tokenizer.decode(inputs["input_ids"][0])
    assert text.startswith("user: Answer in JSON.\n\nlook: a red cat")


def test_what_is_wrong_with_a_folder_is_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such folder"):
        open_vlm(f"hf:{tmp_path / 'none'}")
    with pytest.raises(WeightsError, match="the hub does not give it"):
        open_vlm(f"hf:nobody/nothing@{'0' * 40}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match=r"lack config\.json"):
        open_vlm(f"hf:{tmp_path / 'empty'}")
    cut = shutil.copytree(folder, tmp_path / "cut")
    weights = HubVLM(str(cut)).weights.folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    with pytest.raises(WeightsError, match=r"cannot be loaded|no whole safetensors file"):
        open_vlm(f"hf:{cut}").ask(question())
    dumb = shutil.copytree(folder, tmp_path / "dumb")
    (HubVLM(str(dumb)).words.folder / "chat_template.jinja").unlink()
    with pytest.raises(BackendError, match="no chat template"):
        open_vlm(f"hf:{dumb}").ask(question())


def test_letters_of_several_bytes_are_spelled_once() -> None:
    assert spelled([b"\xc3", b"\xa4p", b"fel \xf0\x9f", b"\x8d\x8e"]) == ["", "äp", "fel ", "🍎"]
    assert "".join(spelled([b"a", b"\xc3"])) == "a\ufffd"
