"""Any vision-language model that transformers can load: `AutoModelForImageTextToText` with a chat template.

It may be the text encoder of a painter (FLUX.3 has a Qwen3-VL): then one process loads it once, for both. The reply is
held to its schema by the same grammar as the embedded model's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from brushloop.canvas import ModelRef
from brushloop.errors import BackendError, ContextError
from brushloop.vlm import Question, Reply, few
from brushloop.vlm_grammar import Writing
from brushloop.weights import Weights, find

if TYPE_CHECKING:
    from torch import Tensor

FILES = CONFIG, WORDS = ("config.json", "tokenizer_config.json")
_loaded: WeakValueDictionary[tuple[Path, str], Any] = WeakValueDictionary()
_loading = Lock()


class HubVLM:
    """A transformers folder, or one on the hub (`owner/name@commit`). It runs on a GPU if there is one.

    The folder may be a painter's whose text encoder reads pictures, too (FLUX.3): then it is that model.

    Raises:
        WeightsError: there is no such folder or repository, or it lacks files.
    """

    def __init__(self, where: str) -> None:
        inside = Path(where).expanduser()
        if (inside / "text_encoder").is_dir() and not (inside / CONFIG).is_file():
            self.weights: Weights = find("vlm", str(inside / "text_encoder"), (CONFIG,))
            self.words: Weights = find("vlm", str(inside / "tokenizer"), (WORDS,))
        else:
            self.weights = self.words = find("vlm", where, FILES)
        digest = self.weights.digest
        if self.words is not self.weights:
            digest = hashlib.sha256(f"{digest} {self.words.digest}".encode()).hexdigest()
        self.ref = ModelRef(id=f"hf:{where}", weights=digest)

    def ask(self, question: Question) -> Reply:
        """Answer with JSON that fits the schema.

        Raises:
            ContextError: the question is longer than what the model can read.
        """
        import torch
        from transformers import LogitsProcessorList, StoppingCriteriaList

        inputs = self._inputs(question)
        length, most = inputs["input_ids"].shape[1], self._context
        if length >= most:
            raise ContextError(
                f"the question takes {length} tokens, and {self.ref.id} reads at most {most}: "
                "use a smaller picture, a shorter prompt, or a model with a longer context"
            )
        chosen = _Chosen(Writing(self._vocabulary, question))
        with torch.inference_mode():
            self._model.generate(
                **inputs.to(self._model.device, self._model.dtype),
                do_sample=False,
                max_new_tokens=min(question.max_tokens, most - length),
                logits_processor=LogitsProcessorList([chosen]),
                stopping_criteria=StoppingCriteriaList([chosen.stopped]),
                pad_token_id=self._vocabulary.eos_token,
            )
        return chosen.writing.reply(tokens_in=length)

    def unknown_words(self, prompt: str) -> Sequence[tuple[str, Sequence[str]]]:
        """None: its world is not written down."""
        return ()

    def _inputs(self, question: Question) -> Any:
        """The question as tensors."""
        make = {"add_generation_prompt": True, "tokenize": True, "return_dict": True, "return_tensors": "pt"}
        try:
            return templated(self._processor, [question], **make)
        except Exception as error:
            raise BackendError(
                f"{self.ref.id} cannot be asked with its own chat template: {few(repr(error))}"
            ) from error

    @cached_property
    def _model(self) -> Any:
        return load_model(self.weights)

    @cached_property
    def _processor(self) -> Any:
        with self.weights.loading():
            processor = load_processor(self.words.folder)
        if not getattr(processor, "chat_template", None):
            raise BackendError(
                f"{self.ref.id} has no chat template: add chat_template.jinja, or use an instruction-tuned model"
            )
        return processor

    @cached_property
    def _vocabulary(self) -> Any:
        import llguidance.hf

        with self.weights.loading():
            size = self._model.config.get_text_config().vocab_size
            return llguidance.hf.from_tokenizer(self._processor.tokenizer, n_vocab=size)

    @property
    def _context(self) -> int:
        return int(getattr(self._model.config.get_text_config(), "max_position_embeddings", None) or 1 << 20)


class _Chosen:
    """Lets a `Writing` choose inside `generate`: every other token becomes impossible."""

    def __init__(self, writing: Writing) -> None:
        self.writing = writing
        self._waiting: list[int] = []

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        if not self._waiting and not self.writing.done:
            self._waiting = self.writing.take(scores)
        only = scores.new_full(scores.shape, float("-inf"))
        only[:, self._waiting.pop(0) if self._waiting else self.writing.end] = 0
        return only

    def stopped(self, ids: Tensor, scores: Any, **_: Any) -> Tensor:
        import torch

        return torch.full((ids.shape[0],), self.writing.done and not self._waiting, device=ids.device)


def templated(processor: Any, questions: Sequence[Question], **make: Any) -> Any:
    """Questions in a model's own chat template. What that does with instructions is its own affair; some want none."""

    def read(apart: bool) -> Any:
        turns = [_turns(question, apart) for question in questions]
        return processor.apply_chat_template(turns if len(turns) > 1 else turns[0], **make)

    try:
        return read(True)
    except Exception as error:
        if not any(question.instructions for question in questions) or "system" not in str(error).lower():
            raise
    return read(False)


def _turns(question: Question, apart: bool) -> list[dict[str, Any]]:
    """A question as turns of a conversation, its instructions in a turn of their own if `apart`."""
    content: list[dict[str, Any]] = [{"type": "text", "text": question.text}]
    content += [{"type": "image", "image": image.convert("RGB")} for image in question.images]
    if not question.instructions:
        return [{"role": "user", "content": content}]
    if apart:
        told = {"type": "text", "text": question.instructions}
        return [{"role": "system", "content": [told]}, {"role": "user", "content": content}]
    told = {"type": "text", "text": f"{question.instructions}\n\n"}
    return [{"role": "user", "content": [told, *content]}]


def load_model(weights: Weights) -> Any:
    """The image-text-to-text model of a folder. As long as one holds it, all share it.

    It is in the type that it is stored in, on a CPU that does not multiply in bfloat16 in float32.

    Raises:
        WeightsError: it is damaged, or no such model.
    """
    import torch
    from transformers import AutoModelForImageTextToText

    from brushloop.precision import in_bf16

    key = (weights.folder.resolve(), weights.digest)
    with _loading:
        model = _loaded.get(key)
        if model is None:
            where = "cuda" if torch.cuda.is_available() else "cpu"
            with weights.loading():
                model = AutoModelForImageTextToText.from_pretrained(
                    weights.folder,
                    dtype="auto" if in_bf16(where) else torch.float32,
                    device_map="auto" if where == "cuda" else None,
                    local_files_only=True,
                    use_safetensors=True,
                ).eval()
                chosen = {"temperature": None, "top_p": None, "top_k": None}  # the grammar's writer chooses
                model.generation_config.update(**chosen)
            _loaded[key] = model
    return model


def load_processor(folder: Path) -> Any:
    """The processor of a folder; where its video part cannot be loaded (it needs torchvision), without that part."""
    from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer, ProcessorMixin

    try:
        return AutoProcessor.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # of many kinds: without torchvision the missing classes are placeholders
        if "video" not in str(error).lower() and "torchvision" not in str(error):
            raise
    config = ProcessorMixin.get_processor_dict(folder)[0]
    images = AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
    tokens = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    template = folder / "chat_template.jinja"
    text = template.read_text(encoding="utf-8") if template.is_file() else tokens.chat_template
    return without_video(config["processor_class"])(images, tokens, chat_template=text)


def without_video(name: str) -> Any:
    """The processor class of that name, for pictures and words only."""
    import transformers

    known = getattr(transformers, name)
    parts = [part for part in known.get_attributes() if part != "video_processor"]
    return type(name, (known,), {"get_attributes": classmethod(lambda _: parts), "__module__": known.__module__})
