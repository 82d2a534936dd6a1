"""Dense step-wise supervision: every state of a process record is a target, words and pictures alike.

    loss = λ · CE(plans and reflections) + MSE(velocity of each visual state) + Σ w_k · (1 − constraint_k)

(process-driven generation, its equation for the loss; the constraint terms are ours). The first term trains a `Pen`,
the vision-language model that plans and criticises; the second and third a `Brush`, the painter. Either may be left
out: their gradients do not meet. What is a target is for the record's loss flags to say (`supervision.targets`).

Words: the cross-entropy is taken over replies alone, a weighted mean over tokens. Tokens that tell what is found at an
element weigh `kept` if it is truly right (prior knowledge is preserved) and `found` if it is truly at fault
(violations are found), all others 1.

Pictures: flow matching, x_t = (1 − t) x_0 + t ε, target ε − x_0 (Lipman et al. 2023), tokens of regions weighing
`focus` times as much. For a few states of a batch, those with the least noise, the guess of the end, x_t − t v, is
decoded, shown to a detector and held against the constraints of `supervision.constraints`, each term times 1 − t:
while much is noise, the guess is a mean of pictures, and nothing is to be seen in it.

The bases are folders of any size: FLUX.1 in diffusers' format, and whatever `AutoModelForImageTextToText` loads. All
their weights learn, or, with `rank`, an adapter over them.

Shapes: B batch, N tokens of a picture, C channels, L tokens of a text.
"""

from __future__ import annotations

import copy
import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from brushloop.canvas import Frame
from brushloop.errors import InputError
from brushloop.painter.adapters import files, layers
from brushloop.painter.condition import Condition, encode_condition, positions, velocity
from brushloop.painter.editor.painter import drawn
from brushloop.painter.tokens import SIDE, Window, unpack
from brushloop.painter.units import mask_tokens
from brushloop.supervision.constraints import (
    PicturePreservation,
    SemanticConsistency,
    SpatialConsistency,
    evidence,
)
from brushloop.supervision.detector import Detective, known
from brushloop.supervision.process import See
from brushloop.supervision.targets import Saying, Stroke
from brushloop.supervision.world.scenes import CANVAS
from brushloop.supervision.world.worlds import current
from brushloop.train.course import Course
from brushloop.train.flow import guidance, noised, still
from brushloop.train.loop import Recipe, fit, worn
from brushloop.train.machine import autocast, device, recompute
from brushloop.vlm_hf import FILES, load_processor, templated
from brushloop.weights import find


@dataclass(frozen=True)
class Dense(Recipe):
    """The numbers of a run, and the weights of its loss."""

    text: float = 1.0
    """λ: weight of the cross-entropy on plans and reflections."""
    picture: float = 1.0
    """Weight of the flow-matching error."""
    kept: float = 3.0
    """Weight of tokens about elements that are right; 0 teaches no preservation of what was right."""
    found: float = 5.0
    """Weight of tokens about elements at fault, and about what would mend them."""
    semantic: float = 0.0
    """Weight of semantic consistency: what should be there so far is there."""
    spatial: float = 0.0
    """Weight of spatial consistency: it stands where it should, and what must not move has not."""
    preservation: float = 0.0
    """Weight of picture preservation: what lies outside of the regions stays."""
    constrained: int = 4
    """States of a batch that are held against the constraints."""
    draws: int = 2
    """Timesteps at which a picture is met in one batch."""
    focus: float = 3.0
    """Weight of tokens inside the regions; outside they weigh 1."""
    dropped: float = 0.1
    """Share of texts that the painter reads as empty, for guidance."""
    rank: int = 0
    """Rank of an adapter over the base; 0 lets all weights learn."""
    checkpointing: bool = False
    """Compute blocks again in the backward pass: a third more arithmetic, a fraction of the memory."""


PROCESS = Dense(
    steps=6000, batch=8, lr=3e-4, warmup=100, ema=0.998, log_every=40, semantic=0.05, spatial=0.05, preservation=0.05
)
"""The painter, on every visual state."""
VLM = Dense(steps=2400, batch=16, lr=3e-4, warmup=60, ema=0.995, log_every=30)
"""Planner and critic, on plans and reflections: first on built records, then on those of the loop itself as well."""
CONSTRAINTS = ("semantic", "spatial", "preservation")
KEPT = 2**30
"""Bytes of encoded pictures that are kept: each is met many times."""


class Brush:
    """The painter's part of the loss.

    Args:
        recipe: numbers of the run.
        course: the records.
        base: a FLUX folder in diffusers' format; None is the one that ships.
        teacher: the detector of the constraint terms.

    Raises:
        InputError: the records teach no picture, or constraints have weights and nothing to look with.
        WeightsError: the base is damaged or of another kind.
    """

    name = "painter"

    def __init__(self, recipe: Dense, course: Course, base: str | None, teacher: Detective | None = None) -> None:
        if not any(map(len, course.strokes)):
            raise InputError("no turn of the records has loss.picture set: they teach a painter nothing")
        if any(getattr(recipe, name) for name in CONSTRAINTS) and teacher is None:
            raise InputError(
                f"the terms {', '.join(CONSTRAINTS)} need a detector: give --teacher FILE, or set them to 0; the judge "
                "should measure what it has not taught"
            )
        self.recipe, self.course, self.teacher = recipe, course, teacher
        self._codes: dict[str, Tensor] = {}
        self.backbone = still(base)
        self.pipeline, self.device = self.backbone.pipeline, self.backbone.device
        transformer: Any = self.backbone.transformer
        torch.manual_seed(recipe.seed)
        self.module: nn.Module
        if recipe.rank:
            layers.add(transformer, ["process"], rank=recipe.rank, name="process")
            self.module = layers.learning(transformer, "process")
        else:
            names = ("transformer", "text_encoder", "text_encoder_2")
            self.module = nn.ModuleDict({name: getattr(self.pipeline, name).float() for name in names})
            self.module.requires_grad_(True)
        if recipe.checkpointing:
            recompute(transformer)
        if teacher is not None:
            teacher.judge.must_know(current())
            teacher.judge.network.to(self.device).requires_grad_(False)

    def draw(self, step: int) -> tuple[random.Random, list[tuple[Stroke, See]]]:
        """The strokes of a step, and the chance that goes on from there."""
        rng = random.Random(f"brush/{self.recipe.seed}/{step}")
        return rng, self.course.draw_strokes(rng, self.recipe.batch)

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """The weighted sum of the flow-matching error and the constraint terms, and each of them unweighted."""
        rng, batch = self.draw(step)
        strokes, recipe = [stroke for stroke, _ in batch], self.recipe
        index, size = self._index(strokes[0])
        clean = self._encode([(stroke.picture, see) for stroke, see in batch])[:, index].repeat(recipe.draws, 1, 1)
        canvases = [(stroke.canvas, see) for stroke, see in batch if stroke.canvas]
        before = self._encode(canvases) if canvases else None
        weight = torch.stack([_focus(stroke, size, recipe.focus) for stroke in strokes])[:, index]
        mixed, t, target = noised(clean)
        with autocast(self.device, recipe.precision):
            texts = ["" if rng.random() < recipe.dropped else stroke.text for stroke in strokes]
            words, pooled = self._read(texts, index, size)
            condition = self._condition(strokes, before, index, size)
            guess = self._velocity(
                mixed, t, words.repeat(recipe.draws, 1, 1), pooled.repeat(recipe.draws, 1), index, size,
                condition and condition.repeat(recipe.draws),
            )  # fmt: skip
        error = (guess.float() - target).pow(2).mean(-1)
        weight = weight.repeat(recipe.draws, 1).to(self.device)
        flow = (error * weight).sum() / weight.sum()
        terms = self._constraints(batch, before, mixed - t[:, None, None] * guess.float(), t, index, size)
        loss = recipe.picture * flow
        for name, term in terms.items():
            loss = loss + getattr(recipe, name) * term
        return loss, {"flow": float(flow.detach()), **{name: float(term.detach()) for name, term in terms.items()}}

    def _constraints(
        self, batch: Sequence[tuple[Stroke, See]], before: Tensor | None, ends: Tensor, t: Tensor, index: Tensor,
        size: tuple[int, int],
    ) -> dict[str, Tensor]:  # fmt: skip
        """Means of (1 - value)(1 - t) over the states with the least noise, of each constraint that has a weight."""
        recipe = self.recipe
        able = [i for i in range(len(t)) if (shows := batch[i % len(batch)][0].shows) and known(shows)]
        chosen = sorted(able, key=lambda i: float(t[i]))[: recipe.constrained]
        if self.teacher is None or not chosen:
            return {}
        whole = ends[chosen]
        if before is not None:
            whole = before[[i % len(batch) for i in chosen]].clone()
            whole[:, index] = ends[chosen]
        seen = self._decode(whole, size)
        was = None
        if before is not None:
            with torch.no_grad():
                was = self._decode(before[[i % len(batch) for i in chosen]], size)
        network = self.teacher.judge.network
        looks = evidence(network, _fit(seen))
        earlier = evidence(network, _fit(was)) if was is not None else [None] * len(chosen)
        found: dict[str, list[Tensor]] = {name: [] for name in CONSTRAINTS if getattr(recipe, name)}
        for at, i in enumerate(chosen):
            stroke = batch[i % len(batch)][0]
            assert stroke.shows is not None
            share = 1 - t[i]
            if recipe.semantic:
                found["semantic"].append(share * SemanticConsistency(stroke.shows, 0)(looks[at]).loss)
            if recipe.spatial:
                spatial = SpatialConsistency(stroke.shows, 0, before=earlier[at], moved=stroke.moved)
                found["spatial"].append(share * spatial(looks[at]).loss)
            if recipe.preservation and was is not None and stroke.regions:
                kept = PicturePreservation(stroke.regions)((was[at] + 1) / 2, (seen[at] + 1) / 2)
                found["preservation"].append(share * kept.loss)
        return {name: torch.stack(terms).mean() for name, terms in found.items() if terms}

    def show(self) -> dict[str, Image.Image]:
        """A few strokes: the canvas before, what should be painted, what is painted in 12 denoising steps."""
        found = {}
        with torch.no_grad(), autocast(self.device, self.recipe.precision):
            for number, (stroke, see) in enumerate(self.course.first):
                index, size = self._index(stroke)
                before = self._encode([(stroke.canvas, see)]) if stroke.canvas else None
                condition = self._condition([stroke], before, index, size, noisy=False)
                words, pooled = self._read([stroke.text], index, size)
                x = self.backbone.noise(size[0] * size[1], seed=number).to(self.device)[:, index]
                times = torch.linspace(1, 0, 13, device=self.device)
                for t, after in pairwise(times):
                    x = x + (after - t) * self._velocity(x, t[None], words, pooled, index, size, condition).float()
                whole = x
                if before is not None:
                    before[:, index] = x
                    whole = before
                made = self._decode(whole, size)[0].clamp(-1, 1).add(1).mul(127.5).byte().permute(1, 2, 0)
                panels = [see(stroke.canvas)] if stroke.canvas else []
                panels += [see(stroke.picture), Image.fromarray(made.cpu().numpy())]
                sheet = Image.new("RGB", (sum(panel.width for panel in panels), panels[0].height))
                for place, panel in enumerate(panels):
                    sheet.paste(panel.convert("RGB"), (place * panel.width, 0))
                found[f"painted-{number}"] = sheet
        return found

    def save(self, folder: Path) -> None:
        """Write a diffusers folder at `folder/painter`, in bfloat16; with a rank, the adapter as `process.safetensors`.

        What is written are the weights as they are now.
        """
        if self.recipe.rank:
            learned: Any = self.module
            files.write(layers.gathered(learned, "process", ["process"]), folder / "process.safetensors")
            return
        names = ("transformer", "text_encoder", "text_encoder_2", "vae")
        parts = {name: copy.deepcopy(getattr(self.pipeline, name)).to("cpu", torch.bfloat16) for name in names}
        rest = ("scheduler", "tokenizer", "tokenizer_2")
        type(self.pipeline)(**parts, **{name: getattr(self.pipeline, name) for name in rest}).save_pretrained(
            folder / "painter"
        )

    def _index(self, stroke: Stroke) -> tuple[Tensor, tuple[int, int]]:
        """Which tokens of the canvas are painted, and how many rows and columns it has.

        Raises:
            InputError: the picture does not divide into tokens.
        """
        unit, frame = self.backbone.unit, stroke.picture
        if frame.width % unit or frame.height % unit:
            raise InputError(
                f"record {stroke.record}: turns.{stroke.turn}.picture is {frame.width}x{frame.height}, and this "
                f"painter paints multiples of {unit} pixels"
            )
        size = frame.height // unit, frame.width // unit
        local = stroke.canvas is not None and size == (SIDE, SIDE) and unit == 16
        window = Window.around(stroke.regions) if local else Window()
        return (torch.arange(size[0] * size[1]) if window == Window() else window.index()), size

    def _encode(self, frames: Sequence[tuple[Frame, See]]) -> Tensor:
        """Pictures as normalised tokens (B N C); what was encoded before is kept, up to `KEPT` bytes."""
        new = {frame.hash: see(frame) for frame, see in frames if frame.hash not in self._codes}
        if new:
            for key, code in zip(new, self.backbone.encode(list(new.values())).clone(), strict=True):
                self._codes[key] = code
        tokens = torch.stack([self._codes[frame.hash] for frame, _ in frames])
        if len(self._codes) * tokens[0].nbytes > KEPT:
            self._codes.clear()
        return tokens.to(self.device)

    def _decode(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        """Tokens (B N C) as pixels (B 3 H W), about -1..1; gradients flow."""
        vae = self.pipeline.vae
        code = unpack(tokens, size[0] * 2, size[1] * 2).to(vae.dtype)
        with autocast(self.device, self.recipe.precision):
            pixels: Tensor = vae.decode(code / vae.config.scaling_factor + vae.config.shift_factor).sample
        return pixels.float()

    def _read(self, texts: Sequence[str], index: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Text features (B L D) and pooled features (B D); a window is told in fewer words, as it is at run time."""
        longest = min(512, self.pipeline.tokenizer_2.model_max_length)
        length = longest if len(index) == size[0] * size[1] else Window(side=0).words
        words, pooled, _ = self.pipeline.encode_prompt(list(texts), None, max_sequence_length=length)
        return words, pooled

    def _condition(
        self, strokes: Sequence[Stroke], before: Tensor | None, index: Tensor, size: tuple[int, int], noisy: bool = True
    ) -> Condition | None:
        """The canvases and the masks of the regions as clean tokens; None for text to picture without places."""
        if before is None and not any(stroke.regions for stroke in strokes):
            return None
        rows, columns = size
        channels = self.pipeline.transformer.config.in_channels
        masks = [mask_tokens(drawn(s.regions, (columns * 8, rows * 8)), rows, columns, channels) for s in strokes]
        tokens, ids = torch.stack(masks).to(self.device)[:, index], positions(rows, columns, 2)[index]
        if before is not None:
            canvas = before + 0.05 * torch.randn_like(before) if noisy else before
            tokens = torch.cat([canvas[:, index], tokens], dim=1)
            ids = torch.cat([positions(rows, columns, 1)[index], ids])
        return encode_condition(self.pipeline.transformer, tokens, ids.to(self.device))

    def _velocity(
        self, mixed: Tensor, t: Tensor, words: Tensor, pooled: Tensor, index: Tensor, size: tuple[int, int],
        condition: Condition | None,
    ) -> Tensor:  # fmt: skip
        transformer = self.pipeline.transformer
        ids = positions(*size)[index].to(self.device)
        return velocity(transformer, mixed, t, words, pooled, ids, condition, guidance=guidance(transformer, t))


class Pen:
    """The part of the loss of whoever plans and criticises.

    Args:
        recipe: numbers of the run.
        course: the records.
        base: a transformers folder; None is the one that ships.

    Raises:
        InputError: the records teach no words.
        WeightsError: the base is damaged or of another kind.
    """

    name = "vlm"

    def __init__(self, recipe: Dense, course: Course, base: str | None) -> None:
        from transformers import AutoModelForImageTextToText

        self.kinds = [
            kind for kind, shelves in (("plan", course.plans), ("look", course.looks)) if any(map(len, shelves))
        ]
        if not self.kinds:
            raise InputError("no turn of the records has loss.text set: they teach a planner and critic nothing")
        self.recipe, self.course, self.device = recipe, course, device()
        self.weights = find("vlm", base, FILES)
        still = bool(recipe.rank) and self.device.type != "cpu"
        with self.weights.loading():
            self.processor = load_processor(self.weights.folder)
            self.model: Any = AutoModelForImageTextToText.from_pretrained(
                self.weights.folder, dtype=torch.bfloat16 if still else torch.float32, local_files_only=True,
                use_safetensors=True,
            )  # fmt: skip
        self.processor.tokenizer.padding_side = "left"
        self.bare = (self.weights.folder / "world.json").is_file()
        """Whether it learns the questions alone, as the embedded model does, without the instructions before them."""
        self.model.eval().to(self.device)
        self.learn()

    def learn(self) -> None:
        """Lay the adapter over the model, if there is a rank; and say what learns."""
        recipe = self.recipe
        torch.manual_seed(recipe.seed)
        self.module: nn.Module = self.model
        if recipe.rank:
            from peft import LoraConfig, get_peft_model

            config = LoraConfig(r=recipe.rank, lora_alpha=recipe.rank, target_modules="all-linear")
            self.model = get_peft_model(self.model, config)
            self.module = layers.slashed(
                {key: value for key, value in self.model.named_parameters() if value.requires_grad}
            )
        if recipe.checkpointing:
            self.model.train()
            self.model.enable_input_require_grads()
            self.model.activation_checkpointing_enable()

    def draw(self, step: int) -> list[tuple[Saying, See]]:
        """The sayings of a step: of three steps one is for plans, two for looks."""
        rng = random.Random(f"pen/{self.recipe.seed}/{step}")
        kind = self.kinds[0] if len(self.kinds) == 1 or step % 3 == 0 else self.kinds[1]
        return self.course.draw_sayings(rng, kind, self.recipe.batch)

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """λ times the weighted cross-entropy of the replies; and that of one kind, unweighted by λ."""
        batch = self.draw(step)
        sayings = [saying for saying, _ in batch]
        inputs, answers, weights = self._rows(batch)
        with autocast(self.device, self.recipe.precision):
            logits = self.model(**inputs, logits_to_keep=answers.shape[1] + 1, use_cache=False).logits
        logits = logits[:, -answers.shape[1] - 1 : -1].float()
        each = F.cross_entropy(logits.flatten(0, 1), answers.flatten(), reduction="none", ignore_index=-100)
        loss = (each * weights.flatten()).sum() / weights.sum().clamp(min=1e-6)
        return self.recipe.text * loss, {sayings[0].kind: float(loss.detach())}

    def _rows(self, batch: Sequence[tuple[Saying, See]]) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """What the model reads, the reply tokens (B L; -100 behind the end), and their weights (B L)."""
        questions = [saying.question(see(saying.picture) if saying.picture else None) for saying, see in batch]
        if self.bare:
            questions = [replace(question, instructions="") for question in questions]
        read = templated(
            self.processor, questions, add_generation_prompt=True, tokenize=True, return_dict=True,
            return_tensors="pt", processor_kwargs={"padding": True},
        )  # fmt: skip
        replies = [self._reply(saying) for saying, _ in batch]
        longest, pad = max(len(ids) for ids, _ in replies), self.processor.tokenizer.pad_token_id
        answers = torch.tensor([ids + [-100] * (longest - len(ids)) for ids, _ in replies])
        weights = torch.tensor([own + [0.0] * (longest - len(own)) for _, own in replies])
        inputs = dict(read)
        shape = inputs["input_ids"].shape
        more = {"input_ids": torch.where(answers == -100, pad, answers), "attention_mask": (answers != -100).long()}
        for name, value in inputs.items():
            if value.shape == shape:
                inputs[name] = torch.cat([value, more.get(name, torch.zeros_like(answers)).to(value.dtype)], dim=1)
        inputs = {name: value.to(self.device) for name, value in inputs.items()}
        return inputs, answers.to(self.device), weights.to(self.device)

    def _reply(self, saying: Saying) -> tuple[list[int], list[float]]:
        """Tokens of a reply with its end, and the weight of each."""
        tokenizer = self.processor.tokenizer
        made = tokenizer(saying.reply, add_special_tokens=False, return_offsets_mapping=True)
        weigh = {"kept": self.recipe.kept, "found": self.recipe.found}
        weights = []
        for start, end in made["offset_mapping"]:
            kinds = [kind for first, last, kind in saying.parts if start < last and end > first]
            weights.append(float(weigh[kinds[0]]) if kinds else 1.0)
        return [*made["input_ids"], tokenizer.eos_token_id], [*weights, 1.0]

    def show(self) -> dict[str, Image.Image]:
        """Nothing: words are no pictures."""
        return {}

    def save(self, folder: Path) -> None:
        """Write a transformers folder at `folder/vlm`, in bfloat16, with what was learned merged in."""
        model = copy.deepcopy(self.model)
        if self.recipe.rank:
            model = model.merge_and_unload()
        model.to("cpu", torch.bfloat16).save_pretrained(folder / "vlm")
        self.processor.save_pretrained(folder / "vlm")
        if self.bare:
            shutil.copy(self.weights.folder / "world.json", folder / "vlm" / "world.json")


class Supervised:
    """Brush and pen, or one of them, as a task."""

    def __init__(self, *parts: Brush | Pen) -> None:
        self.parts = parts
        self._module = nn.ModuleDict({part.name: part.module for part in parts})

    @property
    def module(self) -> nn.Module:
        """What is trained."""
        return self._module

    @property
    def recipe(self) -> Recipe:
        """The numbers of the run, which all parts share."""
        return self.parts[0].recipe

    @recipe.setter
    def recipe(self, recipe: Recipe) -> None:
        for part in self.parts:
            part.recipe = replace(part.recipe, batch=recipe.batch, parts=recipe.parts)

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """The sum of the parts' losses."""
        total, figures = torch.zeros((), device=device()), dict[str, float]()
        for part in self.parts:
            loss, told = part.loss(step)
            total, figures = total + loss, figures | told
        return total, figures

    def names(self, step: int) -> list[str]:
        """The records that a step draws."""
        drawn: list[Any] = []
        for part in self.parts:
            drawn += part.draw(step)[1] if isinstance(part, Brush) else part.draw(step)
        return [target.record for target, _ in drawn]

    def show(self) -> Mapping[str, Image.Image]:
        """Validation pictures."""
        return {name: picture for part in self.parts for name, picture in part.show().items()}


def train(folder: Path, recipe: Dense, *parts: Brush | Pen, seconds: float | None = None) -> list[Path]:
    """Train the parts together and write them into `folder`; returns what was written."""
    task = Supervised(*parts)

    def keep(average: nn.Module, step: int) -> None:
        with worn(task.module, average):
            for part in parts:
                part.save(folder)

    fit(task, recipe, folder, on_save=keep, seconds=seconds)
    return [
        folder / ("process.safetensors" if recipe.rank and isinstance(part, Brush) else part.name) for part in parts
    ]


def _focus(stroke: Stroke, size: tuple[int, int], focus: float) -> Tensor:
    """Weights (N) of the tokens: `focus` where the regions are, 1 elsewhere."""
    rows, columns = size
    weight = torch.ones(rows, columns)
    for left, top, right, bottom in stroke.regions:
        down = slice(top * rows // 100, -(-bottom * rows // 100))
        weight[down, left * columns // 100 : -(-right * columns // 100)] = focus
    return weight.reshape(-1)


def _fit(pixels: Tensor) -> Tensor:
    """Pixels as large as the detector looks at them."""
    if pixels.shape[-2:] == (CANVAS, CANVAS):
        return pixels
    return F.interpolate(pixels, (CANVAS, CANVAS), mode="bilinear", antialias=True)
