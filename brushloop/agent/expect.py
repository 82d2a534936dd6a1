"""What a creation is likely to cost, before it begins and while it runs.

The forecast is taken from what was measured: finished creations of this store with the same makers and effort, the more
alike in the number of things they show the more they count. Without any, the embedded models have figures of their
own, measured when they were shipped; other models have none, and then only rounds and pixels are told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from statistics import fmean

from brushloop.agent.events import Event
from brushloop.canvas import Brief, Noun, Plan, Step, StepKind, Verdict
from brushloop.errors import StoreError
from brushloop.store import Store
from brushloop.weights import is_own

MOST = 60
"""Earlier creations that are looked at, the newest first."""
WORDS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10}
_BETWEEN = re.compile(
    r",|;|\b(?:and|with|left of|right of|above|below|under|over|near|beside|behind|next to|in front of|between)\b"
)
_PLACE = re.compile(r"\b(?:on|in|at|by)\b.*")

ROUNDS, SECONDS, COLD, TOKENS, ASKED, MEMORY = 0.7, 0.75, 4.0, 100, 190, 690
"""Of the embedded models on one core: pictures for each thing after the first, seconds a picture with its reflection,
seconds to load them, tokens of a plan and of a reflection, MiB."""


class Expected(Noun):
    """What a creation is likely to cost; None where nothing is known."""

    rounds: float
    pixels: int
    seconds: float | None = None
    tokens: int | None = None
    memory: int | None = None
    """MiB held by the process, at most."""
    based_on: int = 0
    """Earlier creations that it is taken from."""

    def said(self) -> str:
        """In a line for people."""
        parts = [f"{self.rounds:.1f} pictures", f"{self.pixels:,} pixels"]
        parts += [f"{self.seconds:.0f} s"] if self.seconds is not None else []
        parts += [f"{self.tokens:,} tokens"] if self.tokens is not None else []
        parts += [f"{self.memory} MiB"] if self.memory is not None else []
        known = (
            f"from {self.based_on} earlier creation{'s' * (self.based_on > 1)}" if self.based_on else "from no history"
        )
        return f"{', '.join(parts)} ({known})"


def things(prompt: str) -> int:
    """How many things a prompt seems to name, at least one: parts between commas and joining words, times numbers."""
    found = 0
    for part in _BETWEEN.split(prompt.lower()):
        words = re.findall(r"\w+", _PLACE.sub("", part))
        if words:
            number = next(
                (
                    WORDS.get(word, int(word) if word.isdigit() else 0)
                    for word in words
                    if word in WORDS or word.isdigit()
                ),
                1,
            )
            found += min(64, max(1, number))
    return max(1, found)


def expected(
    store: Store, brief: Brief, size: tuple[int, int], makers: tuple[str, str], effort: str = "normal"
) -> Expected:
    """What `brief` is likely to cost with these makers (names of painter and vision-language model).

    Args:
        store: where earlier creations are.
        brief: what is wanted; its budget caps the forecast.
        size: pixels.
        makers: as a brief step records them.
        effort: name of the level.
    """
    wanted, budget = things(brief.prompt), brief.budget
    rows = list(_measured(store, makers, effort))
    weights = [1 / (1 + (seen - wanted) ** 2) for seen, *_ in rows]

    def mean(column: int) -> float:
        return sum(w * row[column] for w, row in zip(weights, rows, strict=True)) / sum(weights)

    if rows:
        rounds, seconds, tokens, memory = mean(1), mean(2), mean(3), max(row[4] for row in rows)
    elif all(map(is_own, makers)):
        rounds = 1 + ROUNDS * (wanted - 1)
        seconds, tokens, memory = COLD + SECONDS * rounds, TOKENS + ASKED * rounds, MEMORY
    else:
        rounds = min(1 + ROUNDS * (wanted - 1), budget.rounds)
        return Expected(rounds=round(rounds, 1), pixels=min(budget.pixels, round(rounds * size[0] * size[1])))
    capped = min(rounds, budget.rounds, budget.pixels / (size[0] * size[1]))
    share = capped / rounds
    return Expected(
        rounds=round(capped, 1),
        pixels=round(capped * size[0] * size[1]),
        seconds=round(min(seconds * share, budget.seconds), 1),
        tokens=min(round(tokens * share), budget.tokens),
        memory=round(memory) or None,
        based_on=len(rows),
    )


def _measured(store: Store, makers: tuple[str, str], effort: str) -> Iterable[tuple[float, ...]]:
    """Things, rounds, seconds, tokens and memory of the newest creations with these makers."""
    found = 0
    for head in store.heads()[: 4 * MOST]:
        try:
            end = store.get_step(head.head)
            root = store.get_step(head.root)
            names = root.settings.get("painter"), root.settings.get("vlm"), root.settings.get("effort", "normal")
            if end.kind is not StepKind.FINISH or root.parent or names != (*makers, effort) or not root.brief:
                continue
            chain = store.chain(head.head)
        except StoreError:
            continue
        costs = [(step, store.measurements(digest)) for digest, step in chain]
        if any("base" in step.settings for step, _ in costs):  # a conversation
            continue
        painted = sum(step.kind in (StepKind.DRAFT, StepKind.REFINE) for step, _ in costs)
        if painted and any("seconds" in cost for _, cost in costs):
            seconds, tokens = (sum(float(cost.get(name, 0)) for _, cost in costs) for name in ("seconds", "tokens"))
            memory = max(float(cost.get("memory", 0)) for _, cost in costs)
            yield things(root.brief.prompt), painted, seconds, tokens, memory
            found += 1
        if found == MOST:
            return


class Left:
    """Seconds that a running creation still needs, told after each event of the run.

    A round costs what rounds have cost in this run so far, before the first one what was expected. What is left is
    the plan steps that are not painted yet, each with as many tries as one takes on average, and one more try where
    the critic has just not accepted.
    """

    def __init__(self, store: Store, expected: Expected | None = None) -> None:
        self.store, self.expected = store, expected
        self.plan: Plan | None = None
        self.at, self.costs, self.tries, self.open = 0, list[float](), 0, True
        self.spent = 0.0
        """Seconds of the round in work, as they were measured: an event may be heard late."""

    def after(self, event: Event) -> float | None:
        """Seconds left after an event, at least 0; None while nothing can be said."""
        if event["type"] != "step":
            return None
        try:
            step = self.store.get_step(event["hash"])
        except StoreError:
            return None
        self.spent += float(self.store.measurements(event["hash"]).get("seconds", 0))
        return self._after(step)

    def _after(self, step: Step) -> float | None:
        if step.kind is StepKind.FINISH:
            return 0.0
        self.plan = step.plan or self.plan
        if step.kind in (StepKind.DRAFT, StepKind.REFINE):
            self.at, self.tries, self.open = int(step.settings.get("plan_step", 0)), self.tries + 1, True
        if step.kind is StepKind.PLAN:
            self.spent = 0.0
        if step.critique and step.kind is StepKind.REFLECT:
            self.open = step.critique.verdict is not Verdict.ACCEPT
            self.costs.append(self.spent)
            self.spent = 0.0
        if self.plan is None or not (self.costs or (self.expected and self.expected.seconds)):
            return None
        expected = self.expected
        cost = (
            fmean(self.costs) if self.costs else (expected.seconds or 0) / max(1.0, expected.rounds) if expected else 0
        )
        steps = len(self.plan.steps)
        usual = max(1.0, expected.rounds / steps) if expected else 1.0
        each = max(usual, self.tries / (self.at + 1)) if self.tries else usual
        ahead = steps - self.at - 1 if self.tries else steps
        return round(max(0.0, cost * (ahead * each + (self.open and self.tries > 0))), 1)
