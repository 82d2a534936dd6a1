"""Full-size Flux pipelines by folder or hub id: fetched, checked, loaded by diffusers, and fitted to the machine.

A painter's name may carry options after a question mark: `flux:models/FLUX.1-dev?dtype=bf16&offload=model`.
"""

from __future__ import annotations

import importlib.util
import json
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from brushloop.errors import BackendError, InputError, WeightsError
from brushloop.painter.modular import INDEX
from brushloop.weights import Weights, find

if TYPE_CHECKING:
    from brushloop.painter.adapters.merge import Part

HUB_ID = re.compile(r"(?P<id>[\w.-]+/[\w.-]+)(@(?P<revision>[\w.-]+))?")
WANTED = ("*.json", "*/*.json", "*/*.safetensors", "*/*.txt", "*/*.model", "*/*.jinja")
"""What is fetched of a repository: no pickles, and not the single file beside the folders."""
TRANSFORMERS = ("FluxTransformer2DModel", "Flux2Transformer2DModel", "Flux3Transformer2DModel")

_LORA = re.compile(r"(?P<file>.+?)(@(?P<domain>[^@:]+))?(:(?P<strength>-?\d+(\.\d+)?))?")
_CHOICES = {
    "dtype": ("bf16", "fp16", "fp32"),
    "quant": ("none", "fp8", "4bit"),
    "offload": ("none", "model", "sequential", "group"),
    "compile": ("none", "inductor", "eager"),
}


@dataclass(frozen=True)
class Options:
    """How a pipeline is loaded and run."""

    dtype: str = ""
    """bf16, fp16 or fp32; by default bf16 on an accelerator and fp32 on a CPU. The text encoder of FLUX.3 keeps the
    type it is stored in."""
    quant: str = "none"
    """fp8 stores the transformer in 8 bits and computes in `dtype`; 4bit needs bitsandbytes."""
    offload: str = "none"
    """What leaves the accelerator while it does not work: whole models, layers, or groups of layers."""
    compile: str = "none"
    """Compile the transformer's repeated blocks."""
    attention: str = ""
    """An attention backend of diffusers, such as native or flash."""
    guidance: float | None = None
    """By default the pipeline's own."""
    steps: int | None = None
    """Denoising steps, whatever a request asks for; a distilled base wants its own number."""
    lora: str = ""
    """Adapter files laid over the transformer, by commas: FILE, FILE:0.8, or FILE@icon:0.8 where it has domains."""
    editor: str = ""
    """File of an editor (`python -m brushloop.train editor`)."""
    edit: str = ""
    """File of the adapter that goes with it (`python -m brushloop.train instruct`)."""


def split(name: str) -> tuple[str, Options]:
    """A painter's name without its options, and these.

    Raises:
        BackendError: an option that there is not, or a value that it does not take.
    """
    name, _, query = name.partition("?")
    known = {each.name for each in fields(Options)}
    given: dict[str, Any] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in known:
            raise BackendError(f"painter {name!r} has no option {key!r}: use {', '.join(sorted(known))}")
        if key in _CHOICES and value not in _CHOICES[key]:
            raise BackendError(f"option {key} of painter {name!r} is {value!r}: use {', '.join(_CHOICES[key])}")
        try:
            given[key] = {"guidance": float, "steps": int}.get(key, str)(value)
        except ValueError:
            raise BackendError(f"option {key} of painter {name!r} is {value!r}: give a number") from None
    return name, Options(**given)


def fetch(where: str) -> Weights:
    """The folder of a pipeline: `where` itself, or what the hub has under that id (`owner/name@revision`).

    Raises:
        WeightsError: no such folder, or the hub cannot be reached and has nothing kept here.
    """
    path = Path(where).expanduser()
    hub = HUB_ID.fullmatch(where)
    if not path.exists() and hub:
        from huggingface_hub import snapshot_download

        try:
            path = Path(snapshot_download(hub["id"], revision=hub["revision"], allow_patterns=list(WANTED)))
        except Exception as error:
            raise WeightsError(
                f"{where} is no folder here and cannot be fetched from the hub ({_short(error)}): name a folder, or "
                "fetch it where there is a network"
            ) from error
    return find("painter", str(path), (index(path).name, "transformer/config.json"))


def index(folder: Path) -> Path:
    """The file that says what pipeline a folder holds."""
    modular = folder / INDEX
    return modular if modular.is_file() else folder / "model_index.json"


def pipeline_class(weights: Weights) -> str:
    """The class of diffusers that a folder names."""
    try:
        return str(json.loads(index(weights.folder).read_text())["_class_name"])
    except (ValueError, KeyError, TypeError) as error:
        name = index(weights.folder).name
        raise WeightsError(f"{name} in {weights.folder} names no pipeline: copy the folder again") from error


def require(options: Options) -> None:
    """Refuse options that this machine cannot follow, before anything is loaded.

    Raises:
        BackendError: one needs an accelerator or a package that is not there, or two do not go together.
    """
    import torch

    gpu = torch.cuda.is_available()
    if options.offload != "none" and not gpu:
        raise BackendError(f"offload={options.offload} needs an accelerator, and there is none: leave it out")
    if options.quant == "4bit" and importlib.util.find_spec("bitsandbytes") is None:
        raise BackendError("quant=4bit needs bitsandbytes: pip install bitsandbytes, or use quant=fp8")
    if options.quant == "4bit" and not gpu:
        raise BackendError("quant=4bit needs an accelerator, and there is none: use quant=fp8")
    if options.quant == "4bit" and options.lora:
        raise BackendError("a lora cannot be laid over weights of 4 bits: use quant=fp8, or leave lora out")


def laid(lora: str) -> tuple[Part, ...]:
    """The adapters that `Options.lora` names, read.

    Raises:
        WeightsError: there is no such file, or it is no LoRA.
        InputError: it has several domains, and none of them is named.
    """
    from brushloop.painter.adapters import files
    from brushloop.painter.adapters.merge import Part

    parts = []
    for each in filter(None, lora.split(",")):
        match = _LORA.fullmatch(each)
        assert match
        part = Part(files.read(match["file"]), match["domain"], float(match["strength"] or 1))
        try:
            part.adapter.weights(part.omega)
        except InputError as error:
            raise InputError(f"{error} (lora={match['file']}@NAME)") from error
        parts.append(part)
    return tuple(parts)


def load(weights: Weights, options: Options, classes: tuple[str, ...], parts: Sequence[Part] = ()) -> Any:
    """The pipeline of a folder, ready to run.

    Raises:
        WeightsError: it is damaged, or of a class that is not among `classes`; an adapter is for another base.
        BackendError: an option needs what this machine has not.
    """
    import torch
    from diffusers.utils import logging

    from brushloop.painter import modular

    logging.disable_progress_bar()  # a painter tells of its denoising steps; bars would stand between the lines
    name = pipeline_class(weights)
    if name not in classes:
        raise WeightsError(f"{weights.folder} holds a {name}: painters are {', '.join(classes)}")
    require(options)
    kind, gpu = modular.known(name), torch.cuda.is_available()
    dtypes = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
    dtype = dtypes[options.dtype or ("bf16" if gpu else "fp32")]
    transformer = _transformer(weights, options, dtype, parts)
    if name in modular.CLASSES:
        pipeline = modular.assemble(kind, weights, options, dtype, transformer)
    else:
        with weights.loading():
            pipeline = kind.from_pretrained(
                weights.folder, transformer=transformer, torch_dtype=dtype, local_files_only=True, use_safetensors=True
            )
        pipeline.set_progress_bar_config(disable=True)
    if name in modular.CLASSES:
        modular.place(pipeline, options.offload, torch.device("cuda" if gpu else "cpu"))
    elif options.offload == "model":
        pipeline.enable_model_cpu_offload()
    elif options.offload == "sequential":
        pipeline.enable_sequential_cpu_offload()
    elif options.offload == "group":
        pipeline.enable_group_offload(onload_device=torch.device("cuda"), offload_type="leaf_level", use_stream=True)
    elif gpu:
        pipeline.to("cuda")
    if options.compile != "none":
        transformer.compile_repeated_blocks(backend=options.compile, fullgraph=options.offload == "none")
    return pipeline


def _transformer(weights: Weights, options: Options, dtype: Any, parts: Sequence[Part]) -> Any:
    """What denoises, stored and computing as asked."""
    import diffusers
    import torch

    given = {"quantization_config": _four_bits(dtype)} if options.quant == "4bit" else {}
    with weights.loading():
        name = json.loads((weights.folder / "transformer" / "config.json").read_text())["_class_name"]
        if name not in TRANSFORMERS:
            raise ValueError(f"its transformer is a {name}")
        transformer = getattr(diffusers, name).from_pretrained(
            weights.folder / "transformer", torch_dtype=dtype, local_files_only=True, use_safetensors=True, **given
        )
    if parts:
        from brushloop.painter.adapters.merge import Merger

        Merger(transformer).use(*parts)
    if options.quant == "fp8":
        transformer.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=dtype)
    if options.attention:
        try:
            transformer.set_attention_backend(options.attention)
        except Exception as error:
            raise BackendError(
                f"attention={options.attention} cannot be used here ({_short(error)}): leave it out"
            ) from error
    return transformer


def _four_bits(dtype: Any) -> Any:
    from diffusers import BitsAndBytesConfig

    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)


def _short(error: Exception) -> str:
    """What a library said, in one line of at most 120 characters."""
    return textwrap.shorten(str(error), 120, placeholder=" …") or type(error).__name__
