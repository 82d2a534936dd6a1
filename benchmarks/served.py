"""The embedded model behind a vLLM server: the same plans, what its prefix cache saves, and many creations at once.

    brushloop serve-vlm FOLDER
    python -m benchmarks.served openai:http://127.0.0.1:8000/v1#embedded FOLDER

Prints Markdown. Not part of `make bench`, which needs no server.
"""

from __future__ import annotations

import random
import re
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

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

PROMPTS, CREATIONS, ROUNDS = 200, 8, 6


def prompts(number: int) -> list[str]:
    """Prompts of the world that the models were not trained on."""
    rng = random.Random("served")
    return [words.prompt(scenes.sample_split(rng, False), rng)[0] for _ in range(number)]


def same_plans(served: ServedVLM, local: EmbeddedVLM) -> list[str]:
    """How many plans are the same at temperature 0; for each other one, where it parts and how near the choice was."""
    same, notes = 0, []
    for prompt in prompts(PROMPTS):
        question = Question(plan_text(prompt), plan_schema())
        ours, theirs = local.ask(question), served.ask(question)
        if ours.text == theirs.text:
            same += 1
        else:
            notes.append(f"  - `{prompt}`: {_parting(ours, theirs)}")
    return [f"- Same plan at temperature 0: {same} of {PROMPTS} prompts.", *notes]


def _parting(ours: Reply, theirs: Reply) -> str:
    at = next((i for i, (a, b) in enumerate(zip(ours.text, theirs.text, strict=False)) if a != b), -1)
    told = []
    for reply in (ours, theirs):
        start = 0
        for token in reply.tokens:
            if start <= at < start + len(token.text):
                told.append(f"{token.text!r} ({token.logprob if token.logprob is None else round(token.logprob, 3)})")
            start += len(token.text)
    return f"parts at character {at}: {' / '.join(told)}"


def cache_in_the_loop(served: ServedVLM) -> list[str]:
    """Share of prompt tokens that came from the prefix cache in later rounds of real creations, as asked today."""
    before = counters(served)
    read = cached = 0
    for number, prompt in enumerate(prompts(CREATIONS)):
        made = paint(served, prompt, number)
        looks = [digest for digest, step in made.store.chain(made.head) if step.kind is StepKind.REFLECT]
        for digest in looks[1:]:
            cost = made.store.measurements(digest)
            read, cached = read + cost["tokens_in"], cached + cost["tokens_cached"]
    total = [after - old for after, old in zip(counters(served), before, strict=True)]
    return [
        f"- From round 2 on, {cached} of {read} prompt tokens ({_share(cached, read)}) came from the prefix cache "
        f"in {CREATIONS} creations; by the server's own counter over all rounds {total[1]:g} of {total[0]:g} "
        f"({_share(total[1], total[0])})."
    ]


def cache_with_instructions(served: ServedVLM, local: EmbeddedVLM) -> list[str]:
    """The same with the questions that big models get: only what is asked counts here, so replies are one token."""
    pictures = Instant().pictures
    plans = []
    for prompt in prompts(CREATIONS):
        plans.append((prompt, Plan.model_validate_json(local.ask(Question(plan_text(prompt), plan_schema())).text)))
    later = [0.0, 0.0]
    for number, (prompt, plan) in enumerate(plans):
        for round in range(ROUNDS):
            picture, step = pictures[(number * ROUNDS + round) % len(pictures)], min(round // 2, len(plan.steps) - 1)
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


def together(served: ServedVLM) -> list[str]:
    """Creations one after another, and as many at once."""
    texts = prompts(CREATIONS)
    paint(served, "a red apple on a beach", 0)
    serial = _seconds(lambda: [paint(served, text, seed) for seed, text in enumerate(texts, 100)])

    def at_once() -> None:
        threads = [threading.Thread(target=paint, args=(served, text, seed)) for seed, text in enumerate(texts, 200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    parallel = _seconds(at_once)
    return [
        f"- {CREATIONS} creations of {ROUNDS} rounds: {serial:.1f} s one after another, {parallel:.1f} s at once: "
        f"{serial / parallel:.2f} times the throughput (the painter paints at once, so this is the model's share)."
    ]


def paint(served: ServedVLM, prompt: str, seed: int):  # type: ignore[no-untyped-def]
    """A creation with an instant painter, so that only the model's time counts."""
    home = tempfile.mkdtemp(prefix="brushloop-served-")
    return Studio(Instant(), served, home).paint(prompt, seed, budget={"rounds": ROUNDS, "stall": ROUNDS})


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


def main(name: str, folder: str, *parts: str) -> None:
    """Measure all, or only the named parts."""
    served, local = open_vlm(name), EmbeddedVLM(folder)
    assert isinstance(served, ServedVLM)
    print(f"## Served ({name}, {Path(folder).name})\n")
    work: dict[str, Callable[[], list[str]]] = {
        "plans": lambda: same_plans(served, local),
        "cache": lambda: cache_in_the_loop(served),
        "instructions": lambda: cache_with_instructions(served, local),
        "together": lambda: together(served),
    }
    for part in parts or work:
        print("\n".join(work[part]()), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
