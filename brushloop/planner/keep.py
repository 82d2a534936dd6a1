"""What another plan may change: only what is not painted yet, or was found at fault. Pure: no model is asked."""

from __future__ import annotations

from brushloop.canvas import Critique, Element, Finding, Plan, Status


def kept(old: Plan, step: int, critique: Critique, new: Plan) -> Plan:
    """The new plan, with everything that stands in the picture as it was.

    What plan steps `0..step` of the old plan painted, and the critic saw as planned, keeps its attributes and places
    and counts as painted from the first step on, whatever the new plan says of it. Steps that are then left with
    nothing to add are dropped.

    Args:
        old: the plan that was painted.
        step: the index of its last painted step.
        critique: what was seen of it.
        new: what the model would do instead.
    """
    elements, found = list(new.elements), list[int]()
    for element in standing(old, step, critique):
        index = _like(element, elements, found)
        if index is None:
            if len(elements) == 64:
                continue
            elements.append(element)
            index = len(elements) - 1
        elements[index] = element
        found.append(index)
    first, *rest = new.steps
    adds = (*first.adds, *(index for index in sorted(found) if index not in first.adds))
    steps = [first.model_copy(update={"adds": adds})]
    for stroke in rest:
        left = tuple(index for index in stroke.adds if index not in found)
        if left or not stroke.adds:
            steps.append(stroke.model_copy(update={"adds": left}))
    needed = {"tools": new.tools or old.tools, "materials": new.materials or old.materials}
    return new.model_copy(update={"elements": tuple(elements), "steps": tuple(steps), **needed})


def standing(plan: Plan, step: int, critique: Critique) -> list[Element]:
    """Elements that are painted by `step` and were seen as planned."""
    said = {finding.element: finding.status for finding in critique.findings}
    return [plan.elements[index] for index in plan.due(step) if said.get(index) is Status.PRESENT]


def reasons(old: Plan, step: int, critique: Critique, new: Plan) -> list[str]:
    """Why a new plan touches what was painted: `cat was wrong (color)`, for each painted thing that it changes."""
    said = {finding.element: finding for finding in critique.findings}
    elements = list(new.elements)
    return [
        f"{old.elements[index].name} was {_fault(said.get(index))}"
        for index in old.due(step)
        if old.elements[index] not in elements
    ]


def background_first(plan: Plan) -> Plan:
    """The plan with the step that paints the background in front, where it would wipe out nothing."""

    def later(number: int) -> bool:
        stroke = plan.steps[number]  # an edit of the background needs a picture before it
        return bool(stroke.edit) or not any(plan.elements[index].role == "background" for index in stroke.adds)

    order = sorted(range(len(plan.steps)), key=later)
    return plan.model_copy(update={"steps": tuple(plan.steps[number] for number in order)})


def _like(element: Element, elements: list[Element], taken: list[int]) -> int | None:
    """The element of a list that means the same thing: of its name and role, the most alike."""
    marks = [(_alike(element, other), -index) for index, other in enumerate(elements) if index not in taken]
    marks = [mark for mark in marks if mark[0] > 0]
    return -max(marks)[1] if marks else None


def _alike(one: Element, other: Element) -> int:
    if one.role != other.role or (one.name != other.name and one.role == "object"):
        return 0
    return 1 + 4 * (one.boxes == other.boxes) + 2 * (one.color == other.color) + (one.count == other.count)


def _fault(finding: Finding | None) -> str:
    if finding is None or finding.status is Status.NOT_YET:
        return "not looked at"
    return f"{finding.status} ({finding.fault})" if finding.fault else str(finding.status)
