"""Another plan changes only what is not painted, or says why more; and backgrounds are painted first."""

from __future__ import annotations

from typing import Any

from fakes import BALL, CAT, PLAN, ToyPainter, ToyVLM, look
from hypothesis import given, settings
from hypothesis import strategies as st

from brushloop import Critique, Plan, Studio
from brushloop.canvas import Element, Fault, Finding, PlanStep, Status, StepKind, Verdict
from brushloop.planner.keep import background_first, kept, reasons, standing

ELSEWHERE = (50, 5, 80, 35)


def critique(*statuses: Status) -> Critique:
    faults = {Status.WRONG: Fault.COLOR}
    findings = (Finding(element=i, status=s, fault=faults.get(s)) for i, s in enumerate(statuses))
    return Critique(findings=tuple(findings), verdict=Verdict.REPLAN)


P, W, M, N = Status.PRESENT, Status.WRONG, Status.MISSING, Status.NOT_YET


def replanned(**cat: Any) -> Plan:
    """A plan that moves the cat, wants another beach, and paints the ball with a boat."""
    return Plan(
        elements=(
            Element(name="desert", role="background"),
            Element(**{"name": "cat", "color": "blue", "boxes": (ELSEWHERE,), **cat}),
            Element(name="ball", color="red", boxes=(BALL,)),
            Element(name="boat"),
        ),
        steps=(
            PlanStep(instruction="paint a desert", adds=(0,)),
            PlanStep(instruction="add a cat", adds=(1,)),
            PlanStep(instruction="add a ball and a boat", adds=(2, 3)),
        ),
    )


def test_what_stands_is_kept_whatever_the_new_plan_says() -> None:
    new = kept(PLAN, 0, critique(P, P, N), replanned())
    assert new.elements[:2] == PLAN.elements[:2], "beach and cat are there and were right"
    assert [element.name for element in new.elements[2:]] == ["ball", "boat"]
    assert [step.instruction for step in new.steps] == ["paint a desert", "add a ball and a boat"]
    assert new.steps[0].adds == (0, 1) and reasons(PLAN, 0, critique(P, P, N), new) == []


def test_what_was_at_fault_may_change_and_it_is_said_why() -> None:
    seen = critique(P, W, N)
    new = kept(PLAN, 0, seen, replanned())
    assert new.elements[0] == PLAN.elements[0] and new.elements[1].boxes == (ELSEWHERE,)
    assert reasons(PLAN, 0, seen, new) == ["cat was wrong (color)"]
    assert reasons(PLAN, 0, critique(P, M, N), kept(PLAN, 0, critique(P, M, N), replanned())) == ["cat was missing"]


def test_what_the_new_plan_forgets_is_still_there() -> None:
    alone = Plan(elements=(Element(name="boat"),), steps=(PlanStep(instruction="add a boat", adds=(0,)),))
    new = kept(PLAN, 1, critique(P, P, P), alone)
    assert [element.name for element in new.elements] == ["boat", "beach", "cat", "ball"]
    assert new.due(0) == (0, 1, 2, 3)
    needing = PLAN.model_copy(update={"tools": ("a brush",), "materials": ("ink",)})
    assert kept(needing, 1, critique(P, P, P), alone).tools == ("a brush",)


def test_of_two_alike_the_nearer_one_is_meant() -> None:
    twins = Plan(
        elements=(Element(name="cat", color="red", boxes=(CAT,)), Element(name="cat", color="blue", boxes=(BALL,))),
        steps=(PlanStep(instruction="cats", adds=(0, 1)),),
    )
    swapped = twins.model_copy(update={"elements": twins.elements[::-1]})
    assert kept(twins, 0, critique(P, P), swapped).elements == swapped.elements


elements = st.builds(
    Element,
    name=st.sampled_from(["cat", "ball", "boat", "beach"]),
    role=st.sampled_from(["object", "object", "background"]),
    color=st.sampled_from([None, "red", "blue"]),
    boxes=st.sampled_from([(), (CAT,), (BALL,), (ELSEWHERE,)]),
)


@st.composite
def plans(draw: Any) -> Plan:
    things = draw(st.lists(elements, min_size=1, max_size=6))
    cuts = sorted(draw(st.sets(st.integers(1, len(things)), max_size=3)) | {len(things)})
    bounds = list(zip([0, *cuts], cuts, strict=False))
    steps = [PlanStep(instruction="paint", adds=tuple(range(low, high))) for low, high in bounds if high > low]
    return Plan(elements=tuple(things), steps=tuple(steps))


@settings(max_examples=300, deadline=None)
@given(plans(), plans(), st.data())
def test_nothing_that_stands_is_ever_changed(old: Plan, new: Plan, data: Any) -> None:
    step = data.draw(st.integers(0, len(old.steps) - 1))
    due = old.due(step)
    seen = critique(*(data.draw(st.sampled_from([P, W, M])) if i in due else N for i in range(len(old.elements))))
    after = kept(old, step, seen, new)
    left = list(after.elements)
    for element in standing(old, step, seen):
        left.remove(element)  # there, once for each time it stands
    assert set(after.due(len(after.steps) - 1)) >= set(new.due(len(new.steps) - 1)), "and nothing new is forgotten"
    at_fault = sum(status in (W, M) for status in (f.status for f in seen.findings))
    assert len(reasons(old, step, seen, after)) <= at_fault, "each change of what was painted has a fault as its reason"


def test_backgrounds_come_first() -> None:
    late = PLAN.model_copy(
        update={"steps": (PlanStep(instruction="a cat", adds=(1, 2)), PlanStep(instruction="a beach", adds=(0,)))}
    )
    assert [step.instruction for step in background_first(late).steps] == ["a beach", "a cat"]
    assert background_first(PLAN) == PLAN
    creation = Studio(ToyPainter(), ToyVLM([late])).paint("a cat, a red ball on a beach")
    assert [step.text for step in creation.steps if step.kind is StepKind.DRAFT] == ["a beach", "a cat"]


def test_several_intents_become_ordered_steps_of_which_each_thing_is_painted_once() -> None:
    creation = Studio(ToyPainter(), ToyVLM()).paint("a cat and a red ball on a beach")
    drafts = [step for step in creation.steps if step.kind is StepKind.DRAFT]
    assert [step.settings["plan_step"] for step in drafts] == [0, 1]
    assert creation.plan and sorted(index for step in creation.plan.steps for index in step.adds) == [0, 1, 2]


def test_the_loop_replans_within_what_stands() -> None:
    looks = [look("present", "wrong", "not_yet", verdict="replan"), None]
    studio = Studio(ToyPainter(), ToyVLM([PLAN, replanned(color=None)], looks=looks))
    creation = studio.paint("a cat and a red ball on a beach")
    (_, second) = [step for step in creation.steps if step.kind is StepKind.PLAN]
    assert second.plan and second.plan.elements[0].name == "beach", "the new plan wanted a desert; a beach is painted"
    assert second.plan.elements[1].boxes == (ELSEWHERE,)
    assert second.text.endswith("(changes what was painted: cat was wrong)")
    assert studio.store.verify(creation.id) == []
