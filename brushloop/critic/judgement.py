"""From what was seen to a critique that can be acted on. Pure: no model is asked.

"Not drawn yet" is not "wrong": only elements that are due count, for the score and for corrections.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean

from brushloop.canvas import (
    Correction,
    Critique,
    EditType,
    Element,
    Fault,
    Finding,
    Plan,
    Status,
    Verdict,
)

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def complete(
    plan: Plan, step: int, findings: Iterable[Finding], corrections: Iterable[Correction], verdict: Verdict
) -> Critique:
    """One finding for each element, an edit for each fault, a score, and a verdict that agrees with them.

    An element that is due but not mentioned is missing. A correction of an element that is not due yet
    is dropped. The edits of the worst elements come first.
    """
    due = set(plan.due(step))
    said: dict[int, Finding] = {}
    for finding in findings:
        said.setdefault(finding.element, finding)  # of two, the first is believed
    settled = tuple(_settle(index, said.get(index), index in due) for index in range(len(plan.elements)))
    at_fault = [f.element for f in settled if f.status in (Status.MISSING, Status.WRONG)]
    edits = [(about(plan, correction), correction) for correction in corrections]
    edits = [(index, correction) for index, correction in edits if index is None or index in due]
    helped = {index for index, _ in edits}
    edits += [(index, _default(plan, settled[index])) for index in at_fault if index not in helped]
    edits.sort(key=lambda edit: 0.5 if edit[0] is None else settled[edit[0]].score or 0.0)
    if verdict is Verdict.ACCEPT and at_fault:
        verdict = Verdict.REFINE
    elif verdict is Verdict.REFINE and not edits:
        verdict = Verdict.ACCEPT
    return Critique(
        findings=settled,
        corrections=tuple(correction for _, correction in edits),
        verdict=verdict,
        score=round(fmean(settled[index].score or 0.0 for index in due), 4) if due else 0.0,
    )


def carry(plan: Plan, step: int, critique: Critique) -> Critique:
    """What a critique of the plan so far says of the same picture once `step` is due: the new things are missing."""
    return complete(plan, step, critique.findings, critique.corrections, Verdict.REFINE)


def overrule(plan: Plan, step: int, said: Critique, before: Critique | None) -> Critique:
    """A person's critique: their word stands, verdict included; what they do not mention stays as it was.

    If they accept, what they do not mention is as it should be.
    """
    if said.verdict is Verdict.ACCEPT:
        rest: Sequence[Finding] = [Finding(element=index, status=Status.PRESENT) for index in plan.due(step)]
    else:
        rest = before.findings if before else ()
    judged = complete(plan, step, [*said.findings, *rest], said.corrections, said.verdict)
    return judged.model_copy(update={"verdict": said.verdict})


def about(plan: Plan, correction: Correction) -> int | None:
    """Index of the element that a correction is for: by its place first, then by its words; None if no element is."""
    if correction.edit is EditType.BACKGROUND:
        return next((i for i, element in enumerate(plan.elements) if element.role == "background"), None)
    found: list[tuple[tuple[int, bool, bool, int], int]] = []
    for index, element in enumerate(plan.elements):
        if element.role == "background":
            continue
        place = len(set(correction.regions) & set(element.boxes))
        named = element.name in correction.instruction
        colored = bool(element.color and element.color in correction.instruction)
        if place or named:
            found.append(((place, named, colored, len(element.name)), -index))
    return -max(found)[1] if found else None


def _settle(index: int, finding: Finding | None, due: bool) -> Finding:
    if not due:
        early = finding is not None and finding.status is Status.PRESENT
        return Finding(element=index, status=Status.PRESENT if early else Status.NOT_YET)
    if finding is None or finding.status is Status.NOT_YET:
        return Finding(element=index, status=Status.MISSING, score=0.0)
    if finding.score is None:
        return finding.model_copy(update={"score": float(finding.status is Status.PRESENT)})
    return finding


def _default(plan: Plan, finding: Finding) -> Correction:
    """An edit for a fault that the model named without saying what to do."""
    element = plan.elements[finding.element]
    thing = _phrase(element)
    if element.role == "background":
        return Correction(edit=EditType.BACKGROUND, instruction=f"change the background to {element.name}")
    if finding.status is Status.MISSING:
        alone = next((step.instruction for step in plan.steps[1:] if step.adds == (finding.element,)), None)
        return Correction(edit=EditType.ADD, instruction=alone or f"add {thing}", regions=element.boxes)
    if finding.fault is Fault.COLOR and element.color:
        text = f"make the {_name(element)} {element.color}"
        return Correction(edit=EditType.COLOR, instruction=text, regions=element.boxes)
    if finding.fault is Fault.POSITION:  # where it stands now is not known, where it should stand is
        return Correction(edit=EditType.ADD, instruction=f"add {thing}", regions=element.boxes)
    return Correction(edit=EditType.REPLACE, instruction=f"replace with {thing}", regions=element.boxes)


def _phrase(element: Element) -> str:
    words = [*filter(None, (element.size, element.color)), _name(element)]
    if element.count > 1:
        words.insert(0, NUMBERS[element.count] if element.count < len(NUMBERS) else str(element.count))
    else:
        words.insert(0, "an" if words[0][0] in "aeiou" else "a")
    return " ".join(words)


def _name(element: Element) -> str:
    return element.name if element.count == 1 else f"{element.name}s"
