"""Recipe `vlm`: the small Idefics3 that plans and criticises, trained from scratch on the world.

First the image tower alone learns what stands where (a cell-wise detector on the tokens that the text
model will read), then all of it learns plans (text to Plan JSON) and critiques (picture and plan so far
to Look JSON), with the detector kept as a second loss. Cross-entropy is taken over answers only.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Idefics3Config, Idefics3ForConditionalGeneration, PreTrainedTokenizerFast

from brushloop.canvas import Element, Plan
from brushloop.critic.closeups import contact_sheet, crops, side
from brushloop.critic.prompt import Look, look_text
from brushloop.planner.kinds import LEAD, Said
from brushloop.planner.prompt import plan_text
from brushloop.supervision import faults
from brushloop.supervision.world import art, scenes, wishes, words
from brushloop.supervision.world.worlds import current
from brushloop.train.begin import shared, take_over
from brushloop.train.judge import blemish
from brushloop.train.loop import Recipe, Turns, fit
from brushloop.train.machine import autocast, device
from brushloop.train.text import pieces, vocabulary_of
from brushloop.vlm_embedded import END, IMAGE_TOKENS, conversation, pixels

IMAGE = 96
"""Side in pixels at which the model looks at pictures."""
SIDE = 6
"""Image tokens along one side of a picture."""
TOWER = Recipe(steps=1000, batch=24, lr=1e-3, seed=5, warmup=60, ema=0.995, log_every=20, final_lr=0.2, muon=True)


@dataclass(frozen=True)
class Taught(Recipe):
    """The numbers of a vision-language model's run."""

    tower: int = TOWER.steps
    """Steps of the first stage, which are taken as `TOWER` says."""
    turns: str = "plan look plan kind plan look conclude look"
    """What the batches of lessons are about in turn, of `TIMES`."""
    own: float = 0.3
    """Share of the looks that are at states which the loop itself made, where there are any (the closed loop)."""


RECIPE = Taught(steps=2400, batch=24, lr=1.5e-3, seed=6, warmup=60, ema=0.995, log_every=30, muon=True)
LEARNED = 3000
"""States of which the tokenizer reads questions and answers."""
SPECIAL = ("<pad>", "<bos>", "<fake_token_around_image>", "<global-img>", "<image>", END)


def tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE over the world's questions and answers; keys of the JSON are single tokens, numbers too."""
    rng = random.Random("tokenizer")
    texts = []
    for _ in range(LEARNED):
        state = faults.sample(rng)
        texts += [plan_text(state.prompt), answer(state.plan), look_text(state.prompt, state.plan, state.step)]
        texts.append(answer(state.look))
    texts += [str(number) for number in range(101) for _ in range(200)]
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r'[\]}",{\[]*"[a-z]+":[\[{"]*|\p{N}+| ?\p{L}+|\s|[^\s\p{L}\p{N}]+'), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    learner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    learner.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=pieces(1024), initial_alphabet=alphabet, show_progress=False)
    )
    learner.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    template = (
        "{% for message in messages %}{{ message['role'] | capitalize }}:"
        "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>{% endif %}{% endfor %}"
        "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}"
        "<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=learner, pad_token="<pad>", bos_token="<bos>", eos_token=END, chat_template=template,
        model_max_length=1024, clean_up_tokenization_spaces=False,
    )  # fmt: skip


def answer(noun: object) -> str:
    """A noun as the model writes it: compact JSON without what goes without saying."""
    text: str = noun.model_dump_json(exclude_defaults=True)  # type: ignore[attr-defined]
    return text


def build(tokens: PreTrainedTokenizerFast, sight: int = 192, text: int = 256) -> Idefics3ForConditionalGeneration:
    """A fresh model of 6 million parameters; `sight` (a multiple of 32) and `text` (of 8) are its widths."""
    ids = {token: tokens.convert_tokens_to_ids(token) for token in SPECIAL}
    config = Idefics3Config(
        vision_config=dict(
            hidden_size=sight, intermediate_size=4 * sight, num_hidden_layers=4, num_attention_heads=sight // 32,
            image_size=IMAGE, patch_size=8,
        ),
        text_config=dict(
            model_type="llama", vocab_size=len(tokens), hidden_size=text, intermediate_size=text * 11 // 4,
            num_hidden_layers=5, num_attention_heads=4, num_key_value_heads=4, head_dim=text // 4,
            max_position_embeddings=1024,
            tie_word_embeddings=True, pad_token_id=ids["<pad>"], bos_token_id=ids["<bos>"], eos_token_id=ids[END],
        ),
        image_token_id=ids["<image>"],
        pad_token_id=ids["<pad>"],
        tie_word_embeddings=True,
        scale_factor=2,
    )  # fmt: skip
    model = Idefics3ForConditionalGeneration(config)
    if device().type == "cpu":  # where fused attention takes long backward (`painter.condition.attend`)
        model.set_attn_implementation("eager")
    start_as_convolution(model.model.vision_model)
    return model


OFFSETS = (
    ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (0, 0)),
    ((1, 1), (1, -1), (-1, 1), (-1, -1), (0, 1), (1, 0)),
    ((0, 2), (0, -2), (2, 0), (-2, 0), (1, 1), (-1, -1)),
)
"""Where the heads of the first layers look at first, in patches (down, right)."""


@torch.no_grad()
def start_as_convolution(tower: Any) -> None:
    """Let the first layers begin as convolutions: each head attends to the patch at one offset.

    A transformer from scratch needs far more pictures than a convolutional net to learn that neighbours
    belong together; beginning there removes most of the difference (structured initialisation, Zheng et al.
    2024). Positions are sines and cosines in dimensions that content leaves alone at first, so that a turn
    of the query looks at a fixed offset.
    """
    side = tower.embeddings.num_patches_per_side
    waves = 2 * math.pi / torch.tensor([2.6, 3.3, 4.2, 5.5, 7.5, 10.0, 15.0, 24.0])
    down, right = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")

    def code(y: Tensor, x: Tensor) -> Tensor:
        angles = torch.cat([y[:, None] * waves, x[:, None] * waves], dim=1)
        return torch.cat([angles.cos(), angles.sin()], dim=1)

    size = 4 * len(waves)
    tower.embeddings.position_embedding.weight.zero_()[:, :size] = code(
        down.reshape(-1).float(), right.reshape(-1).float()
    )
    tower.embeddings.patch_embedding.weight[:size] = 0
    tower.embeddings.patch_embedding.bias[:size] = 0
    for layer, offsets in zip(tower.encoder.layers, OFFSETS, strict=False):
        attention, head = layer.self_attn, layer.self_attn.head_dim
        for index, (y, x) in enumerate(offsets[: attention.num_heads]):
            angle = torch.cat([y * waves, x * waves])
            turn = torch.zeros(size, size)  # code(p + offset) = turn @ code(p)
            half = size // 2
            turn[:half, :half] = turn[half:, half:] = angle.cos().diag()
            turn[half:, :half], turn[:half, half:] = angle.sin().diag(), -angle.sin().diag()
            rows = slice(index * head, index * head + size)
            for projection, start in ((attention.q_proj, turn), (attention.k_proj, torch.eye(size))):
                projection.weight[rows] *= 0.3
                projection.weight[rows, :size] = SHARPNESS * start
        for last in (attention.out_proj, layer.mlp.fc2):  # positions stay as they are, at first
            last.weight[:size] = 0
            last.bias[:size] = 0


SHARPNESS = 0.75
"""Scale of those queries and keys: how closely a head keeps to its offset."""


class Eyes(nn.Module):
    """What the image tokens should tell: per token, objects whose centre is in its cell (B 36 1+names+tones+4).

    And per patch, which object it is part of (B 144 1+names).
    """

    def __init__(self, width: int, narrow: int) -> None:
        super().__init__()
        self.names = known = current().names
        self.patches = nn.Linear(narrow, 1 + len(known.objects))
        self.body = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU())
        self.heads = nn.Linear(width, 1 + len(known.objects) + len(known.colors) + 4)
        self.scene = nn.Linear(width, len(known.backgrounds))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.body(features)
        return self.heads(hidden), self.scene(hidden.mean(1))


def sight_loss(eyes: Eyes, features: Tensor, drawn: Sequence[Sequence[Element]]) -> Tensor:
    """Detection loss of image tokens (B 36 D) against what was drawn."""
    cells, whole = (each.float().cpu() for each in eyes(features))
    heat, known = torch.zeros(cells.shape[:2]), eyes.names
    spots, names, tones, boxes, grounds = [], [], [], [], []
    for b, things in enumerate(drawn):
        grounds.append(next((known.backgrounds.index(t.name) for t in things if t.role == "background"), -100))
        for thing in things:
            for box in thing.boxes if thing.role == "object" else ():
                x, y = scenes.center(box)
                cell = min(SIDE - 1, int(y * SIDE / 100)) * SIDE + min(SIDE - 1, int(x * SIDE / 100))
                heat[b, cell] = 1
                for around in _around(box, cell):
                    spots.append((b, around))
                    names.append(known.objects.index(thing.name))
                    tones.append(known.colors.index(thing.color) if thing.color else -100)
                    boxes.append([edge / 100 for edge in box])
    loss = 2 * F.binary_cross_entropy_with_logits(cells[..., 0], heat, pos_weight=torch.tensor(4.0))
    loss = loss + 0.3 * F.cross_entropy(whole, torch.tensor(grounds), ignore_index=-100)
    if spots:
        row, at = torch.tensor(spots).unbind(1)
        picked = cells[row, at]
        split = picked.split([1, len(known.objects), len(known.colors), 4], dim=1)
        loss = loss + F.cross_entropy(split[1], torch.tensor(names))
        if any(tone >= 0 for tone in tones):
            loss = loss + 0.5 * F.cross_entropy(split[2], torch.tensor(tones), ignore_index=-100)
        loss = loss + 2 * F.l1_loss(split[3].sigmoid(), torch.tensor(boxes))
    return loss


def _around(box: tuple[int, int, int, int], cell: int) -> list[int]:
    """The cell of the centre, and the other cells whose middle lies well inside the box."""
    inside = [cell]
    for row in range(SIDE):
        for column in range(SIDE):
            x, y = (column + 0.5) * 100 / SIDE, (row + 0.5) * 100 / SIDE
            if box[0] + 3 < x < box[2] - 3 and box[1] + 3 < y < box[3] - 3 and row * SIDE + column != cell:
                inside.append(row * SIDE + column)
    return inside


@dataclass(frozen=True)
class Lesson:
    """One question with its answer; for a look, the pictures and what is drawn in each (nothing: not known)."""

    question: str
    reply: str
    pictures: tuple[Image.Image, ...] = ()
    drawn: tuple[tuple[Element, ...], ...] = ()
    blind: bool = False
    """What is seen is given, not asked: the lesson is what follows from it, and needs no pictures."""


def look_lesson(
    prompt: str, plan: Plan, step: int, look: Look, picture: Image.Image, drawn: tuple[Element, ...] = ()
) -> Lesson:
    """What the critic is asked of a picture, and what it should answer."""
    sheet = contact_sheet(picture, plan, step)
    assert sheet is not None
    known = (drawn, on_sheet(drawn, crops(plan, step))) if drawn else ()
    return Lesson(look_text(prompt, plan, step), answer(look), (picture, sheet), known)


def on_sheet(drawn: Sequence[Element], squares: Sequence[Sequence[float]]) -> tuple[Element, ...]:
    """What is drawn in a picture as its contact sheet shows it: things whose middle a close-up holds."""
    across, shown = side(len(squares)), []
    for number, (left, top, right, bottom) in enumerate(squares):
        row, column = divmod(number, across)
        for thing in drawn:
            for box in thing.boxes:
                x, y = scenes.center(box)
                if not (left < x < right and top < y < bottom):
                    continue
                edges = []
                for edge, start, length, place in (
                    (box[0], left, right - left, column), (box[1], top, bottom - top, row),
                    (box[2], left, right - left, column), (box[3], top, bottom - top, row),
                ):  # fmt: skip
                    edges.append(round(100 * (place + min(1.0, max(0.0, (edge - start) / length))) / across))
                shown.append(thing.model_copy(update={"count": 1, "boxes": (tuple(edges),)}))
    return tuple(shown)


class Touch:
    """Make renderings look painted: blur, noise, and for some the painter's autoencoder."""

    def __init__(self, vae: Any) -> None:
        self.device = device()
        self.vae = vae and vae.to(self.device)

    def __call__(self, pictures: list[Image.Image], rng: random.Random) -> list[Image.Image]:
        some = [i for i in range(len(pictures)) if self.vae is not None and rng.random() < 0.5]
        if some:
            from brushloop.painter.tokens import to_picture, to_pixels
            from brushloop.train.autoencoder import mean_code

            assert self.vae is not None
            batch = torch.cat([to_pixels(pictures[i]) for i in some]).to(self.device)
            with torch.no_grad(), autocast(self.device):
                back = self.vae.decoder(mean_code(self.vae, batch)).float().cpu()
            for i, one in zip(some, back, strict=True):
                pictures[i] = to_picture(one[None])
        return [blemish(picture, rng) if rng.random() < 0.4 else picture for picture in pictures]


class Reading(nn.Module):
    """The model with the detector beside it."""

    def __init__(self, model: Idefics3ForConditionalGeneration) -> None:
        super().__init__()
        self.model = model
        self.eyes = Eyes(model.config.text_config.hidden_size, model.config.vision_config.hidden_size)

    def see(self, pictures: Tensor) -> Tensor:
        """Image tokens (B 36 D) of (B 3 96 96) pixels in -1..1."""
        tower = self.model.model
        features: Tensor = tower.connector(tower.vision_model(pixel_values=pictures).last_hidden_state)
        return features


class TowerTask:
    """Stage 1: only the tower, the connector and the detector."""

    def __init__(self, recipe: Recipe, reading: Reading, touch: Touch) -> None:
        self.recipe, self.reading, self.touch = recipe, reading, touch
        self.device = device()
        parts = [reading.model.model.vision_model, reading.model.model.connector, reading.eyes]
        self.module: nn.Module = nn.ModuleList(parts).to(self.device)

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        rng = random.Random(f"tower/{self.recipe.seed}/{step}")
        shown = [scenes.crowd(rng) for _ in range(self.recipe.batch)]
        pictures = self.touch([scenes.render(s.elements, s.style, s.variant) for s in shown], rng)
        batch = torch.stack([pixels(picture, IMAGE) for picture in pictures]).to(self.device)
        with autocast(self.device, self.recipe.precision):
            features = self.reading.see(batch)
            loss = sight_loss(self.reading.eyes, features, [s.elements for s in shown])
        return loss, {}


TELLING = 5.0
"""Weight of what is seen and what follows from it: most other tokens of a critique follow from the question.

All words that may stand there weigh the same. When names and "nothing" weighed more than "a" and "smear", a model in
doubt said "nothing" of things that stood elsewhere, and named what was smeared.
"""


TIMES = {"plan": 2, "look": 1, "conclude": 2, "kind": 3}
"""Plans, looks at pictures, what follows from what is seen, kinds of edit: how many of each make up for one look."""
ROUND = 32
"""Rows are as long as a multiple of this: batches of any length fragment the heap, until allocation costs most."""


class Lessons:
    """Stage 2: plans and looks, answered as JSON."""

    def __init__(self, recipe: Taught, reading: Reading, tokens: PreTrainedTokenizerFast, touch: Touch) -> None:
        self.recipe, self.tokens, self.touch, self.device = recipe, tokens, touch, device()
        self.turns = Turns(recipe.turns, TIMES)
        self.module: Any = reading.to(self.device)
        marks = (',"asked":"', '","seen":"', '","status":"')
        self.asked, self.seen, self.status = (tokens.convert_tokens_to_ids(mark) for mark in marks)
        self.ends = frozenset(number for token, number in tokens.get_vocab().items() if token.startswith('"}'))
        self.kept: list[Lesson] = []
        """Lessons from states that the painter really made."""

    def lessons(self, step: int) -> list[Lesson]:
        """The batch of a step; larger where there are no pictures."""
        rng, turn = random.Random(f"vlm/{self.recipe.seed}/{step}"), self.turns.at(step)
        if turn != "look":
            make = {"plan": plan_lesson, "conclude": blind_lesson, "kind": kind_lesson}[turn]
            return [make(rng) for _ in range(TIMES[turn] * self.recipe.batch)]
        some = int(self.recipe.own * self.recipe.batch) if self.kept else 0
        states = [faults.sample(rng, faulty=0.7, category=_category(rng)) for _ in range(self.recipe.batch - some)]
        pictures = self.touch([state.picture for state in states], rng)
        looks = [
            look_lesson(state.prompt, state.plan, state.step, state.look, picture, state.drawn)
            for state, picture in zip(states, pictures, strict=True)
        ]
        return looks + rng.choices(self.kept, k=some) if some else looks

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        lessons, turn = self.lessons(step), self.turns.at(step)
        share = self.turns.share(turn)
        rows = [self._row(lesson) for lesson in lessons]
        longest = -(-max(len(row.ids) for row in rows) // ROUND) * ROUND
        pad = self.tokens.pad_token_id
        ids = torch.tensor([row.ids + [pad] * (longest - len(row.ids)) for row in rows], device=self.device)
        weights = torch.tensor(
            [row.weights + [0.0] * (longest - len(row.weights)) for row in rows], device=self.device
        )[:, 1:]
        model = self.module.model
        figures = {}
        with autocast(self.device, self.recipe.precision):
            embedded = model.get_input_embeddings()(ids)
            extra: Tensor | float = 0.0
            if turn == "look":
                shown = [pixels(picture, IMAGE) for lesson in lessons for picture in lesson.pictures]
                batch = torch.stack(shown).to(self.device)
                features = self.module.see(batch)
                embedded = embedded.masked_scatter(
                    (ids == model.config.image_token_id)[..., None],
                    features.reshape(-1, features.shape[-1]).to(embedded.dtype),
                )
                known = [drawn for lesson in lessons for drawn in lesson.drawn or ((),) * len(lesson.pictures)]
                seen = [i for i, drawn in enumerate(known) if drawn]
                if seen:
                    extra = sight_loss(self.module.eyes, features[seen], [known[i] for i in seen])
                    figures["sight"] = float(extra.detach()) / share
            hidden = model.model.text_model(
                inputs_embeds=embedded, attention_mask=(ids != pad).long()
            ).last_hidden_state
            wanted = weights > 0
            logits = model.lm_head(hidden[:, :-1][wanted])
        weight = weights[wanted]
        loss = (F.cross_entropy(logits.float(), ids[:, 1:][wanted], reduction="none") * weight).sum() / weight.sum()
        figures[turn] = loss.item() / share
        return loss + 0.4 * extra, figures

    def _row(self, lesson: Lesson) -> _Row:
        """A lesson's tokens: the question weighs nothing, nor does what a blind lesson gives."""
        question = self.tokens.encode(conversation(lesson.question, len(lesson.pictures)), add_special_tokens=False)
        reply = self.tokens.encode(lesson.reply + END, add_special_tokens=False)
        weights, weight, given = [0.0] * len(question), 1.0, False
        for token in reply:
            if token == self.status:
                given = False
            weights.append(0.0 if given else weight)
            if token == self.asked:
                given = lesson.blind
            elif token == self.seen:
                weight = TELLING
            elif token in self.ends:
                weight = 1.0
        if lesson.blind:  # a lesson that ends there says nothing of how an answer ends
            weights[-2:] = [0.0, 0.0]
        return _Row(question + reply, weights)


class _Row(NamedTuple):
    """Tokens of one lesson, and how much the prediction of each counts."""

    ids: list[int]
    weights: list[float]


def blind_lesson(rng: random.Random) -> Lesson:
    """What is seen, and what follows from it."""
    state = faults.sample(rng, each=0.5, fancied=True, category=_category(rng))
    findings = answer(Look(findings=state.look.findings, verdict=state.look.verdict)).rpartition('],"verdict"')[0]
    return Lesson(look_text(state.prompt, state.plan, state.step), findings, blind=True)


def plan_lesson(rng: random.Random) -> Lesson:
    """A prompt, and a plan with a tidy layout."""
    scene = scenes.sample_split(rng, True, _category(rng, 0.5), composed=1.0)
    return Lesson(plan_text(words.prompt(scene, rng, amid=rng.random() < 0.25)[0]), answer(words.plan(scene)))


def _category(rng: random.Random, share: float = 0.25) -> str | None:
    """A share of the scenes of lessons are of groups of things."""
    return scenes.GROUPS if rng.random() < share else None


def kind_lesson(rng: random.Random) -> Lesson:
    """What somebody wants, and which kind of edit that is; words get lost, so that no phrasing is known by heart."""
    kind = rng.choice(wishes.KINDS)
    words = wishes.wish(rng, kind).split()
    if rng.random() < 0.4:
        words = [word for word in words if rng.random() > 0.12] or words
    said = Said(edit=kind or "none", confidence=1.0)
    return Lesson(f"{LEAD} {' '.join(words)}", answer(said))


QUESTIONS = ("plan", "look", "kind")
"""What the model may be asked."""


def world_card() -> dict[str, Any]:
    """What the embedded models know, and what the model may be asked, as shipped in `world.json`.

    Of a world in which things have several names it tells what each `means`.
    """
    world = current()
    means = {form: name for name, forms in world.speech.synonyms.items() for each in forms for form in each}
    means |= {thing.plural: thing.name for thing in world.things} if means else {}
    means |= {tone: name for name, tones in world.speech.tones.items() for tone in tones}
    return {
        "world": [world.name, world.digest],
        "objects": list(world.by_name),
        "tintable": list(world.tintable),
        "colors": list(world.colors),
        "backgrounds": list(world.backgrounds),
        "styles": list(world.styles),
        "relations": list(scenes.RELATIONS),
        "sizes": list(art.SIZES),
        "words": sorted(vocabulary_of(6000)),
        "questions": list(QUESTIONS),
    } | ({"means": means} if means else {})


def save(model: nn.Module, tokens: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write a transformers folder in bfloat16, with its processor and the world it knows."""
    from transformers import Idefics3ImageProcessorPil, Idefics3Processor

    model.to(torch.bfloat16).save_pretrained(folder)  # type: ignore[operator]
    processor = Idefics3ImageProcessorPil(
        do_image_splitting=False, size={"longest_edge": IMAGE}, max_image_size={"longest_edge": IMAGE},
        image_mean=[0.5] * 3, image_std=[0.5] * 3,
    )  # fmt: skip
    Idefics3Processor(
        processor, tokens, image_seq_len=IMAGE_TOKENS, chat_template=tokens.chat_template
    ).save_pretrained(folder)
    (folder / "world.json").write_text(json.dumps(world_card(), indent=0) + "\n")


def _kept_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer that a run began with: its numbers mean something to the weights, whatever the world says now."""
    if not folder.is_dir():
        tokenizer().save_pretrained(folder)
    kept: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    return kept


def train(
    folder: Path,
    vae: Path | None = None,
    tower: Recipe = TOWER,
    recipe: Taught = RECIPE,
    seconds: float | None = None,
    states: Callable[[], list[Lesson]] = list,
) -> None:
    """Both stages; writes a transformers folder at `folder/vlm`. One that begins with another run's needs no tower.

    `states` gives lessons from states of the loop itself (`train.states.lessons`), which are mixed in.
    """
    import copy

    from diffusers import AutoencoderKL

    torch.manual_seed(recipe.seed)
    np.random.seed(recipe.seed)
    tokens = _kept_tokenizer(folder / "tokenizer")
    reading = Reading(build(tokens))
    if recipe.begin and (known := Path(recipe.begin)).is_dir():  # of the text model, which the tower leaves alone, too
        take_over(reading.model, known, {"model.text_model.embed_tokens.weight": shared(tokens, known)})
        recipe = replace(recipe, begin="")
    touch = Touch(AutoencoderKL.from_pretrained(vae).eval() if vae else None)
    eyes = TowerTask(tower, reading, touch)
    if not recipe.begin and not (folder / "lessons" / "checkpoint.pt").exists():
        averaged = fit(eyes, tower, folder / "tower", seconds=seconds)
        eyes.module.load_state_dict(averaged.state_dict())

    def keep(average: nn.Module, step: int) -> None:
        save(copy.deepcopy(average).model, tokens, folder / "vlm")  # type: ignore[arg-type]

    task = Lessons(recipe, reading, tokens, touch)
    task.kept = states()
    fit(task, recipe, folder / "lessons", on_save=keep, seconds=seconds)
