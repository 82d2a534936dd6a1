"""What a person's correction means for the plan: what they change is from then on asked for as they want it.

Otherwise the critic, who knows only the plan, would find fault with what a person asked for, and the loop would undo
it.
"""

from __future__ import annotations

import re

from brushloop.agent import turns
from brushloop.canvas import Correction, EditType, Element, Finding, Plan
from brushloop.critic.judgement import about

_AFTER = re.compile(r"\b(?:with|by|into|to)\s+(?P<to>.+)$")


def amended(plan: Plan, correction: Correction, at: int) -> tuple[Plan, int | None]:
    """The plan that agrees with a correction, and the index of the element that it has no longer.

    A correction that agrees with the plan, or speaks of nothing in it, leaves it as it is.

    Args:
        plan: what was asked for.
        correction: a person's.
        at: index of the plan step in work; the steps up to it keep their places.

    Raises:
        InputError: nothing would be left.
    """
    index = about(plan, correction)
    if index is None:
        return plan, None
    thing, text = plan.elements[index], " ".join(correction.instruction.lower().split())
    other: Element | None = thing
    match correction.edit:
        case EditType.REMOVE if turns.names(text, thing.name):
            other = None
        case EditType.COLOR if not (thing.color and turns.names(text, thing.color)):
            wish = turns.order(text)
            other = thing.model_copy(update={"color": wish.to if wish.verb == "color" else None})
        case EditType.REPLACE | EditType.BACKGROUND:
            found = _AFTER.search(text)
            new = turns.bare(found["to"] if found else "")[:80]
            if not turns.names(new or text, thing.name):
                other = thing.model_copy(update={"name": new, "color": None, "size": None}) if new else None
        case EditType.MOVE | EditType.RESIZE:
            other = thing.model_copy(update={"boxes": correction.regions[1 : 1 + thing.count]})
    if other == thing:
        return plan, None
    return (turns.without(plan, index, at), index) if other is None else (turns.changed(plan, index, other), None)


def renumbered(findings: tuple[Finding, ...], gone: int) -> tuple[Finding, ...]:
    """Findings of a plan, for the plan without element `gone`."""
    return tuple(
        finding.model_copy(update={"element": finding.element - (finding.element > gone)})
        for finding in findings
        if finding.element != gone
    )
