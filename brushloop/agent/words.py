"""Steps in words, for people who read the chain."""

from __future__ import annotations

from brushloop.canvas import Critique, Element, Finding, Plan, PlanStep, Status


def of_plan(plan: Plan) -> str:
    """`2 steps: paint a beach with a cat; add a red ball`."""
    number = f"{len(plan.steps)} step{'s' * (len(plan.steps) > 1)}"
    return f"{number}: {'; '.join(map(of_stroke, plan.steps))}"


def of_stroke(stroke: PlanStep) -> str:
    """`add a cat`, `make it evening (tone)`, `a red mushroom (icon, 4 frames)`."""
    frames = f"{stroke.frames} frames" if stroke.frames else ""
    how = ", ".join(filter(None, (stroke.edit, stroke.domain, frames)))
    return f"{stroke.instruction} ({how})" if how else stroke.instruction


def of_critique(plan: Plan, critique: Critique) -> str:
    """`2 of 3 as planned; missing: a cat; not yet: a ball`."""
    by_status: dict[Status, list[str]] = {status: [] for status in Status}
    for finding in critique.findings:
        name = of_element(plan.elements[finding.element])
        fault = of_fault(finding)
        by_status[finding.status].append(f"{name} ({fault})" if fault else name)
    due = len(critique.findings) - len(by_status[Status.NOT_YET])
    said = [f"{len(by_status[Status.PRESENT])} of {due} as planned"]
    for status, label in ((Status.MISSING, "missing"), (Status.WRONG, "wrong"), (Status.NOT_YET, "not yet")):
        if by_status[status]:
            said.append(f"{label}: {', '.join(by_status[status])}")
    return "; ".join(said)


def of_fault(finding: Finding) -> str:
    """`color: a blue apple`: in which way something is wrong, and what is there instead; empty if it is not wrong."""
    if finding.status is not Status.WRONG:
        return ""
    return ": ".join(filter(None, (finding.fault, finding.seen)))


def of_element(element: Element) -> str:
    """`2 red cat`, `beach`."""
    words = [str(element.count) if element.count > 1 else "", element.size, element.color, element.name]
    return " ".join(word for word in words if word)
