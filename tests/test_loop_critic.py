"""The critic: what it asks, how sure it is, and a critique that can be acted on."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import pytest
from fakes import BALL, CAT, MODEL, PLAN, SHORT, ToyVLM, add, look, tokens
from PIL import Image

from brushloop.agent.words import of_critique
from brushloop.canvas import (
    Brief,
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
from brushloop.critic.closeups import contact_sheet, tiles
from brushloop.critic.consistency import consistent
from brushloop.critic.critic import Critic
from brushloop.critic.judgement import about, carry, complete, overrule
from brushloop.critic.prompt import Seen, look_text
from brushloop.critic.sureness import sureness
from brushloop.errors import OutsideWorldError, ReplyError
from brushloop.planner.planner import Planner, whole
from brushloop.planner.prompt import plan_text, replan_text
from brushloop.vlm import Question, Reply, Token

RED_BALL = PLAN.elements[2]
BRIEF = Brief(prompt="a cat and a\n red  ball")
PICTURE = Image.new("RGB", (40, 40))


class Told:
    """A model that always gives the same reply."""

    ref = MODEL

    def __init__(self, reply: Reply) -> None:
        self.reply = reply

    def ask(self, question: Question) -> Reply:
        return self.reply

    def unknown_words(self, prompt: str) -> Sequence[tuple[str, Sequence[str]]]:
        return ()


def test_the_questions_word_for_word() -> None:
    assert plan_text(BRIEF.prompt) == "plan: a cat and a red ball"
    assert look_text(BRIEF.prompt, PLAN, 0) == (
        "look: a cat and a red ball\n"
        "style flat\n"
        "0 background beach due\n"
        "1 1 - cat - at 10 10 40 40 due 1\n"
        "2 1 red ball - at 60 60 90 90 later"
    )
    two = Element(name="sun", count=2, size="small", boxes=((1, 2, 3, 4), (5, 6, 7, 8)))
    free = Plan(elements=(two, Element(name="owl")), steps=(PLAN.steps[0],))
    assert look_text("x", free, 0).splitlines()[1:] == [
        "style any",
        "0 2 - sun small at 1 2 3 4, 5 6 7 8 due 1 2",
        "1 1 - owl - at - due",
    ]
    critique = Critique(
        findings=(
            Finding(element=0, status=Status.PRESENT),
            Finding(element=1, status=Status.MISSING),
            Finding(element=2, status=Status.WRONG, fault=Fault.COLOR),
        ),
        verdict=Verdict.REPLAN,
    )
    assert replan_text("a  cat", PLAN, critique) == "plan: a cat\nfaults: cat missing; ball wrong color"


def test_not_yet_is_not_wrong() -> None:
    """Unfinished is judged against the plan so far: what comes later costs nothing and asks for no edit."""
    vlm = ToyVLM(looks=[look("present", "present", "missing", corrections=[add("ball", BALL)])] * 2)
    early = Critic(vlm).reflect(BRIEF, PLAN, 0, PICTURE).value
    assert [finding.status for finding in early.findings] == [Status.PRESENT, Status.PRESENT, Status.NOT_YET]
    assert early.findings[2].score is None
    assert (early.score, early.corrections, early.verdict) == (1.0, (), Verdict.ACCEPT)
    at_the_end = Critic(vlm).reflect(BRIEF, PLAN, 1, PICTURE).value
    assert at_the_end.findings[2].status is Status.MISSING
    assert (at_the_end.score, at_the_end.verdict) == (0.6667, Verdict.REFINE)
    assert at_the_end.corrections == (add("ball", BALL),)


def test_what_is_due_and_not_mentioned_is_missing() -> None:
    critique = complete(SHORT, 0, [Finding(element=1, status=Status.PRESENT)], (), Verdict.ACCEPT)
    assert [finding.status.value for finding in critique.findings] == ["missing", "present", "missing"]
    assert critique.verdict is Verdict.REFINE
    assert [(c.edit.value, c.instruction, c.regions) for c in critique.corrections] == [
        ("background", "change the background to beach", ()),
        ("add", "add a red ball", (BALL,)),
    ]


def test_not_yet_of_something_due_is_missing() -> None:
    critique = complete(SHORT, 0, [Finding(element=2, status=Status.NOT_YET)], (), Verdict.ACCEPT)
    assert critique.findings[2] == Finding(element=2, status=Status.MISSING, score=0.0)


@pytest.mark.parametrize(
    ("status", "fault", "edit", "text"),
    [
        ("missing", None, "add", "add two red balls"),
        ("wrong", "object", "replace", "replace with two red balls"),
        ("wrong", "count", "replace", "replace with two red balls"),
        ("wrong", "color", "color", "make the balls red"),
        ("wrong", "position", "add", "add two red balls"),
        ("wrong", "size", "replace", "replace with two red balls"),
    ],
)
def test_each_fault_without_a_correction_gets_one(status: str, fault: str | None, edit: str, text: str) -> None:
    plan = SHORT.model_copy(
        update={"elements": (*SHORT.elements[:2], Element(name="ball", color="red", count=2, boxes=(BALL, CAT)))}
    )
    finding = Finding(element=2, status=Status(status), fault=Fault(fault) if fault else None)
    sound = [Finding(element=index, status=Status.PRESENT) for index in (0, 1)]
    (correction,) = complete(plan, 0, [*sound, finding], (), Verdict.REFINE).corrections
    assert correction == Correction(edit=EditType(edit), instruction=text, regions=(BALL, CAT))


def test_the_worst_fault_is_mended_first() -> None:
    findings = [
        Finding(element=0, status=Status.PRESENT, score=0.9),
        Finding(element=1, status=Status.WRONG, score=0.4),
        Finding(element=2, status=Status.MISSING, score=0.1),
    ]
    stray = Correction(edit=EditType.REMOVE, instruction="remove the dog", regions=((0, 0, 5, 5),))
    critique = complete(SHORT, 0, findings, [stray, add("cat", CAT), add("ball", BALL)], Verdict.REFINE)
    assert critique.corrections == (add("ball", BALL), add("cat", CAT), stray)


def test_a_correction_belongs_to_the_element_it_names() -> None:
    apples = tuple(Element(name="apple", color=color, boxes=(box,)) for color, box in (("red", CAT), ("green", BALL)))
    plan = Plan(elements=(PLAN.elements[0], *apples), steps=SHORT.steps)

    def told(text: str, *boxes: tuple[int, int, int, int], edit: EditType = EditType.ADD) -> int | None:
        return about(plan, Correction(edit=edit, instruction=text, regions=boxes))

    assert told("add a green apple") == 2
    assert told("replace with a pear", BALL) == 2
    assert told("add an apple", CAT) == 1
    assert told("move the green apple", (0, 0, 9, 9), BALL, edit=EditType.MOVE) == 2
    assert told("change the background to a beach", edit=EditType.BACKGROUND) == 0
    assert told("remove the dog", (0, 0, 9, 9), edit=EditType.REMOVE) is None


def test_the_last_picture_stands_as_candidate_for_the_next_step() -> None:
    now = complete(PLAN, 0, [Finding(element=i, status=Status.PRESENT, score=0.9) for i in (0, 1)], (), Verdict.ACCEPT)
    then = carry(PLAN, 1, now)
    assert (now.score, then.score) == (0.9, 0.6)
    assert [c.instruction for c in then.corrections] == ["add a red ball"]


def test_a_person_overrules() -> None:
    before = complete(SHORT, 0, [], (), Verdict.REFINE)
    fine = overrule(SHORT, 0, Critique(verdict=Verdict.ACCEPT), before)
    assert fine.verdict is Verdict.ACCEPT and fine.score == 1.0
    but = Critique(verdict=Verdict.ACCEPT, findings=(Finding(element=1, status=Status.WRONG),))
    assert overrule(SHORT, 0, but, before).verdict is Verdict.ACCEPT
    one = Critique(verdict=Verdict.REFINE, findings=(Finding(element=1, status=Status.PRESENT),))
    assert [f.status.value for f in overrule(SHORT, 0, one, before).findings] == ["missing", "present", "missing"]


# How sure


def test_a_score_is_the_probability_of_the_status() -> None:
    text = tokens(
        ('{"findings": [{"element": 0, "status": "', 0.0), ("pre", math.log(0.9)), ("sent", math.log(0.5)),
        ('"}, {"element": 1, "status": ', 0.0), ('"missing', math.log(0.8)), ('"}, {"element": 2, "status"', 0.0),
        (': "wrong", "fault": "color"', math.log(0.7)), ('}], "corrections": [], "verdict": "refine"}', -5.0),
    )  # fmt: skip
    reply = Reply("".join(token.text for token in text), text)
    critique = Critic(Told(reply)).reflect(BRIEF, SHORT, 0, PICTURE).value
    assert [finding.score for finding in critique.findings] == [0.45, 0.2, 0.3]
    assert critique.score == round((0.45 + 0.2 + 0.3) / 3, 4)


def test_without_probabilities_a_status_is_believed() -> None:
    text = json.dumps(look("present", "missing", "wrong"))
    for reply in (Reply(text), Reply(text, (Token(text),)), Reply(text, (Token("something else", -1.0),))):
        critique = Critic(Told(reply)).reflect(BRIEF, SHORT, 0, PICTURE).value
        assert [finding.score for finding in critique.findings] == [1.0, 0.0, 0.0]


def test_a_status_quoted_in_an_instruction_is_no_status() -> None:
    trick = Correction(edit=EditType.ADD, instruction='"status": "present"')
    text = json.dumps(look("missing", corrections=[trick]))
    assert sureness(Reply(text, tuple(Token(letter, -0.01) for letter in text)), 1) == [
        pytest.approx(math.exp(-0.01 * len("missing")))
    ]


def test_the_model_sees_the_picture_and_the_schema() -> None:
    vlm = ToyVLM()
    answer = Critic(vlm).reflect(BRIEF, PLAN, 0, PICTURE)
    (question,) = vlm.questions
    assert question.images[0] is PICTURE
    (_, sheet) = question.images
    assert sheet.size == PICTURE.size, "the close-ups of what is due lie beside it"
    assert set(question.schema["properties"]) == {"findings", "corrections", "verdict"}
    assert answer.tokens == sum(reply.tokens_in + reply.tokens_out for reply in answer.replies) > 0


# The planner


def test_an_unknown_word_is_named_with_its_nearest() -> None:
    vlm = ToyVLM(unknown=[("giraffe", ("horse", "cow")), ("zxy", ())])
    with pytest.raises(OutsideWorldError, match=r"toy-vlm does not know 'giraffe' \(nearest: horse, cow\); 'zxy': use"):
        Planner(vlm).plan(BRIEF)
    assert vlm.questions == [], "nothing is spent on it"


def test_a_plan_paints_all_its_elements() -> None:
    assert whole(PLAN) is PLAN
    lazy = PLAN.model_copy(update={"steps": PLAN.steps[:1]})
    assert whole(lazy).steps[0].adds == (0, 1, 2)


def test_a_replan_tells_what_was_wrong() -> None:
    vlm = ToyVLM()
    critique = complete(PLAN, 0, [Finding(element=0, status=Status.PRESENT)], (), Verdict.REPLAN)
    Planner(vlm).replan(BRIEF, PLAN, critique, 0)
    assert vlm.questions[0].text == "plan: a cat and a red ball\nfaults: cat missing"


def test_a_reply_that_is_no_reflection() -> None:
    with pytest.raises(ReplyError, match="toy-vlm answered twice"):
        Critic(ToyVLM(looks=["I see a cat."] * 2)).reflect(BRIEF, PLAN, 0, PICTURE)


# Close-ups


def test_close_ups_show_each_due_box_once_in_order() -> None:
    picture = Image.new("RGB", (100, 100), "white")
    picture.paste("red", (10, 10, 40, 40))
    picture.paste("blue", (60, 60, 90, 90))
    assert tiles(PLAN, 0) == {1: (1,)}
    assert tiles(PLAN, 1) == {1: (1,), 2: (2,)}
    sheet = contact_sheet(picture, PLAN, 1)
    assert sheet is not None
    assert sheet.getpixel((25, 25)) == (255, 0, 0)
    assert sheet.getpixel((75, 25)) == (0, 0, 255)
    assert sheet.getpixel((1, 1)) == (255, 255, 255), "a little of its surroundings"
    assert sheet.getpixel((75, 75)) == (0, 0, 0), "nothing is due there"


def test_a_plan_without_boxes_has_no_close_ups() -> None:
    free = PLAN.model_copy(update={"elements": tuple(e.model_copy(update={"boxes": ()}) for e in PLAN.elements)})
    assert contact_sheet(PICTURE, free, 1) is None
    vlm = ToyVLM()
    Critic(vlm).reflect(BRIEF, free, 1, PICTURE)
    assert vlm.questions[0].images == (PICTURE,)


def test_what_is_seen_instead_is_told() -> None:
    wrong = Finding(element=2, status=Status.WRONG, fault=Fault.COLOR, seen="blue ball")
    critique = complete(PLAN, 1, [Finding(element=0, status=Status.PRESENT, seen="beach"), wrong], (), Verdict.REFINE)
    assert "wrong: red ball (color: blue ball)" in of_critique(PLAN, critique)


@pytest.mark.parametrize(
    ("element", "seen", "status", "fault"),
    [
        (RED_BALL, "a red ball", Status.PRESENT, None),
        (RED_BALL, "one shiny red ball on the sand", Status.PRESENT, None),
        (RED_BALL, "", Status.PRESENT, None),
        (RED_BALL, "a green ball", Status.WRONG, Fault.COLOR),
        (RED_BALL, "a red sun", Status.WRONG, Fault.OBJECT),
        (RED_BALL, "a red ball elsewhere", Status.WRONG, Fault.POSITION),
        (RED_BALL, "nothing", Status.MISSING, None),
        (Element(name="cat", count=2), "a cat, nothing", Status.WRONG, Fault.COUNT),
        (Element(name="cat", count=2), "a cat, a dog", Status.WRONG, Fault.OBJECT),
        (Element(name="cat", count=2), "two cats", Status.PRESENT, None),
        (Element(name="cat", count=2, color="red"), "a red cat, a blue cat", Status.WRONG, Fault.COLOR),
        (Element(name="beach", role="background"), "a snow background", Status.WRONG, Fault.BACKGROUND),
    ],
)
def test_nothing_is_present_that_was_seen_otherwise(
    element: Element, seen: str, status: Status, fault: Fault | None
) -> None:
    held = consistent(element, Seen(element=0, seen=seen, status=Status.PRESENT))
    assert (held.status, held.fault) == (status, fault)


def test_other_statuses_are_believed() -> None:
    for status in (Status.MISSING, Status.WRONG, Status.NOT_YET):
        said = Seen(element=0, seen="a green ball", status=status)
        assert consistent(RED_BALL, said) == said


def test_a_reply_that_contradicts_itself_is_scored_as_a_fault() -> None:
    spoken = look("present", "present", verdict="accept")
    spoken["findings"][1]["seen"] = "a dog"
    critique = Critic(Told(Reply(json.dumps(spoken)))).reflect(BRIEF, PLAN, 0, PICTURE).value
    assert (critique.findings[1].status, critique.findings[1].fault) == (Status.WRONG, Fault.OBJECT)
    assert critique.findings[1].score == 0.0 and critique.verdict is Verdict.REFINE
