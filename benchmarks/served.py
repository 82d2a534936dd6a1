"""The embedded model behind a vLLM server: the same plans, what its prefix cache saves, and many creations at once.

    brushloop serve-vlm
    python -m benchmarks.served openai:http://127.0.0.1:8000/v1#embedded --only plans cache together

The embedded model reads its short questions without the instructions that other models get, and pictures first. What a
server's cache saves of the questions of other models is measured with the same weights, given room and a template that
puts instructions first and pictures last; only what is read counts, so what they answer does not matter:

    brushloop serve-vlm --port 8001 --vllm "--chat-template benchmarks/told.jinja --max-model-len 4096
        --hf-overrides.text_config.max_position_embeddings 4096"
    python -m benchmarks.served openai:http://127.0.0.1:8001/v1#embedded --only instructions

Prints Markdown. Not part of `make bench`, which needs no server.
"""

from __future__ import annotations

import argparse
import random
import re
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.overhead import Instant
from brushloop import Studio
from brushloop.canvas import Plan, StepKind
from brushloop.critic.closeups import contact_sheet
from brushloop.critic.prompt import instructions, look_schema, look_text
from brushloop.planner.prompt import plan_schema, plan_text
from brushloop.supervision.world import scenes, words
from brushloop.vlm import Question, Reply, open_vlm
from brushloop.vlm_embedded import EmbeddedVLM
from brushloop.vlm_openai import ServedVLM


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    prompts: int = 200
    creations: int = 8
    rounds: int = 6


def prompts(number: int) -> list[str]:
    """Prompts of the world that the models were not trained on."""
    rng = random.Random("served")
    return [words.prompt(scenes.sample_split(rng, False), rng)[0] for _ in range(number)]


def same_plans(served: ServedVLM, local: EmbeddedVLM, sizes: Sizes) -> list[str]:
    """How many plans are the same at temperature 0; for each other one, where it parts and how near the choice was."""
    same, notes = 0, []
    for prompt in prompts(sizes.prompts):
        question = Question(plan_text(prompt), plan_schema())
        ours, theirs = local.ask(question), served.ask(question)
        if ours.text == theirs.text:
            same += 1
        else:
            notes.append(f"  - `{prompt}`: {_parting(ours, theirs)}")
    return [f"- Same plan at temperature 0: {same} of {sizes.prompts} prompts.", *notes]


def _parting(ours: Reply, theirs: Reply) -> str:
    pairs = zip(ours.text, theirs.text, strict=False)
    at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(ours.text), len(theirs.text)))
    told = []
    for reply in (ours, theirs):
        start = 0
        for token in reply.tokens:
            if start <= at < start + len(token.text):
                told.append(f"{token.text!r} ({token.logprob if token.logprob is None else round(token.logprob, 3)})")
            start += len(token.text)
    return f"parts at character {at}: {' / '.join(told)}"


def cache_in_the_loop(served: ServedVLM, sizes: Sizes) -> list[str]:
    """Share of prompt tokens that came from the prefix cache in later rounds of real creations, as asked today."""
    before = counters(served)
    read = cached = 0
    for number, prompt in enumerate(prompts(sizes.creations)):
        made = paint(served, prompt, number, sizes.rounds)
        looks = [digest for digest, step in made.store.chain(made.head) if step.kind is StepKind.REFLECT]
        for digest in looks[1:]:
            cost = made.store.measurements(digest)
            read, cached = read + cost["tokens_in"], cached + cost["tokens_cached"]
    total = [after - old for after, old in zip(counters(served), before, strict=True)]
    return [
        f"- From round 2 on, {cached} of {read} prompt tokens ({_share(cached, read)}) came from the prefix cache "
        f"in {sizes.creations} creations; by the server's own counter over all rounds {total[1]:g} of {total[0]:g} "
        f"({_share(total[1], total[0])})."
    ]


def cache_with_instructions(served: ServedVLM, local: EmbeddedVLM, sizes: Sizes) -> list[str]:
    """The same with the questions that big models get: only what is asked counts here, so replies are one token."""
    pictures = Instant().pictures
    plans = []
    for prompt in prompts(sizes.creations):
        plans.append((prompt, Plan.model_validate_json(local.ask(Question(plan_text(prompt), plan_schema())).text)))
    later = [0.0, 0.0]
    for number, (prompt, plan) in enumerate(plans):
        for round in range(sizes.rounds):
            picture, step = (
                pictures[(number * sizes.rounds + round) % len(pictures)],
                min(round // 2, len(plan.steps) - 1),
            )
            sheet = contact_sheet(picture, plan, step)
            shown = (picture, sheet) if sheet else (picture,)
            text = look_text(prompt, plan, step)
            before = counters(served)
            served.ask(Question(text, look_schema(), shown, max_tokens=1, instructions=instructions()))
            if round:
                later = [sum_ + new - old for sum_, new, old in zip(later, counters(served), before, strict=True)]
    return [
        f"- With instructions, from round 2 on: {later[1]:g} of {later[0]:g} prompt tokens "
        f"({_share(later[1], later[0])}) came from the prefix cache, by the server's own counter."
    ]


def together(served: ServedVLM, sizes: Sizes) -> list[str]:
    """Creations one after another, and as many at once."""
    texts, rounds = prompts(sizes.creations), sizes.rounds
    paint(served, "a red apple on a beach", 0, 1)
    serial = _seconds(lambda: [paint(served, text, seed, rounds) for seed, text in enumerate(texts, 100)])

    def at_once() -> None:
        work = [(served, text, seed, rounds) for seed, text in enumerate(texts, 200)]
        threads = [threading.Thread(target=paint, args=each) for each in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    parallel = _seconds(at_once)
    return [
        f"- {len(texts)} creations of {rounds} rounds: {serial:.1f} s one after another, {parallel:.1f} s at once: "
        f"{serial / parallel:.2f} times the throughput (the painter paints at once, so this is the model's share)."
    ]


def paint(served: ServedVLM, prompt: str, seed: int, rounds: int):  # type: ignore[no-untyped-def]
    """A creation with an instant painter, so that only the model's time counts."""
    home = tempfile.mkdtemp(prefix="brushloop-served-")
    return Studio(Instant(), served, home).paint(prompt, seed, budget={"rounds": rounds, "stall": rounds})


def counters(served: ServedVLM) -> tuple[float, float]:
    """Prompt tokens that the server looked up in its prefix cache, and those found there."""
    text = urllib.request.urlopen(served.url.removesuffix("/v1") + "/metrics", timeout=10).read().decode()
    found = []
    for name in ("queries", "hits"):
        match = re.search(rf"^vllm:prefix_cache_{name}_total{{[^}}]*}} (\S+)$", text, re.MULTILINE)
        found.append(float(match[1]) if match else 0.0)
    return found[0], found[1]


def _seconds(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.0f}%" if whole else "none"


PARTS = ("plans", "cache", "instructions", "together")


def main() -> None:
    """Measure the named parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="openai:<url>#<model>: the embedded model behind a server")
    parser.add_argument("folder", nargs="?", help="the same model as a folder; by default the one that ships")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=("plans", "cache", "together"))
    for size, usual in vars(Sizes()).items():
        parser.add_argument(f"--{size}", type=int, default=usual)
    given = parser.parse_args()
    served, local = open_vlm(given.name), EmbeddedVLM(given.folder)
    assert isinstance(served, ServedVLM)
    sizes = Sizes(given.prompts, given.creations, given.rounds)
    work: dict[str, Callable[[], list[str]]] = {
        "plans": lambda: same_plans(served, local, sizes),
        "cache": lambda: cache_in_the_loop(served, sizes),
        "instructions": lambda: cache_with_instructions(served, local, sizes),
        "together": lambda: together(served, sizes),
    }
    for part in given.only:
        print("\n".join(work[part]()), flush=True)


if __name__ == "__main__":
    main()
