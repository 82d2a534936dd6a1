"""The planner: from a prompt to the elements of a picture and the order in which to paint them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from brushloop.canvas import Brief, Critique, Element, ModelRef, Plan, Task
from brushloop.errors import OutsideWorldError, ReplyError
from brushloop.planner.keep import background_first, kept
from brushloop.planner.prompt import instructions, plan_schema, plan_text, replan_text
from brushloop.vlm import VLM, Answer, Question, ask, own_questions, that_knows

TRIES, WARMTH = 5, 1.0
"""How often a prompt is planned if the plan has not what it names, and the temperature from the second time on."""
MANY = 64
"""As many of a kind as an element of a plan can be."""


class Planner:
    """Asks a vision-language model for plans."""

    def __init__(self, vlm: VLM) -> None:
        self.vlm = vlm

    @property
    def ref(self) -> ModelRef:
        """The model that plans."""
        return self.vlm.ref

    def check(self, prompt: str) -> None:
        """Refuse a prompt that the model cannot understand, before anything is spent on it.

        Raises:
            OutsideWorldError: it does not know a word; the message names the nearest things it knows.
        """
        unknown = list(self.vlm.unknown_words(prompt))
        if not unknown:
            return
        said = "; ".join(
            f"{word[:40]!r}" + (f" (nearest: {', '.join(nearest)})" if nearest else "") for word, nearest in unknown[:3]
        )
        more = f"{other} as painter and vlm" if (other := that_knows(prompt)) else "a larger model"
        raise OutsideWorldError(f"{self.ref.id} does not know {said}: use words of its world, or {more}")

    def plan(self, brief: Brief) -> Answer[Plan]:
        """A first plan; asked for again, up to five times in all, if it has not what the prompt names.

        Raises:
            OutsideWorldError: the model does not know a word of the prompt.
            ReplyError: it answers with something that is not a plan when it is asked for the first time.
        """
        self.check(brief.prompt)
        before = brief.units[0] if brief.task is Task.CHAT and brief.units else None
        told = before.text if before and not before.images else ""
        answer = self._ask(plan_text(brief.prompt), told)
        replies, faults = answer.replies, _number(self.astray(brief, answer.value))
        for seed in range(1, TRIES):
            if not faults:
                break
            try:
                other = self._ask(plan_text(brief.prompt), told, seed)
            except ReplyError:  # the plan before may be wrong, but it is one
                continue
            replies += other.replies
            if (less := _number(self.astray(brief, other.value))) < faults:
                answer, faults = other, less
        return Answer(answer.value, replies)

    def astray(self, brief: Brief, plan: Plan) -> dict[str, list[str]]:
        """Things and colours of which a plan "leaves out" some that the prompt names, or "adds" more than it names.

        An instruction adds what it names beyond the elements of its step.
        Such a plan leads to a picture that is as planned and not as wished. Only a model with a world of its own can
        tell what in a sentence is a name (`EmbeddedVLM.named`); of others nothing is said.
        """
        named = getattr(self.vlm, "named", None)
        if named is None or brief.task is not Task.PAINT:
            return {}
        least, most = _wished(named(brief.prompt))
        planned = _things(plan.elements)
        added = planned - most
        for stroke in plan.steps:  # a painter goes by the instruction
            if stroke.edit is None and stroke.domain is None:
                told, _ = _wished(named(stroke.instruction))
                added += told - _things([plan.elements[index] for index in stroke.adds])
        said = {"leaves out": least - planned, "adds": added}
        return {what: sorted(names.elements()) for what, names in said.items() if names}

    def replan(self, brief: Brief, plan: Plan, critique: Critique, step: int) -> Answer[Plan]:
        """Another plan after `plan`, painted as far as `step`, led to a picture with these faults.

        It changes only what is not painted yet or was at fault (`brushloop.planner.keep`).

        Raises:
            ReplyError: the model answers with something that is not a plan.
        """
        due = set(plan.due(step))
        seen = critique.model_copy(update={"findings": tuple(f for f in critique.findings if f.element in due)})
        answer = self._ask(replan_text(brief.prompt, plan, seen))
        return Answer(kept(plan, step, critique, answer.value), answer.replies)

    def _ask(self, text: str, conversation: str = "", seed: int = 0) -> Answer[Plan]:
        told, warmth = instructions(conversation), WARMTH if seed else 0.0
        schema = plan_schema(craft=own_questions(self.vlm) is None)
        answer = ask(self.vlm, Question(text, schema, seed=seed, temperature=warmth, instructions=told), Plan)
        return Answer(background_first(whole(answer.value)), answer.replies)


def _wished(named: Iterable[tuple[str, int, int | None]]) -> tuple[Counter[str], Counter[str]]:
    """How often each name is wished for at least and at most."""
    least, most = Counter[str](), Counter[str]()
    for name, low, high in named:
        least[name] += low
        most[name] += MANY if high is None else high
    return least, most


def _things(elements: Iterable[Element]) -> Counter[str]:
    """How many of each object and colour there are."""
    found = Counter[str]()
    for thing in elements:
        if thing.role == "object":
            found[thing.name] += thing.count
            found.update([thing.color] if thing.color else [])
    return found


def _number(faults: Mapping[str, Sequence[str]]) -> int:
    return sum(map(len, faults.values()))


def whole(plan: Plan) -> Plan:
    """The plan with every element painted by some step: what no step adds, the last one does.

    So at the last step everything is due, and the picture is judged as a whole.
    """
    *before, last = plan.steps
    forgotten = tuple(sorted(set(range(len(plan.elements))) - set(plan.due(len(plan.steps) - 1))))
    if not forgotten:
        return plan
    last = last.model_copy(update={"adds": last.adds + forgotten})
    return plan.model_copy(update={"steps": (*before, last)})
