"""From a record to a guide: the states that stood, told in the words of the record itself.

Nothing is made up: step texts are the plan's instructions, the critic's reflections and its corrections. A model
that can write may put them into better words (`brushloop.tutorial.writer`).
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

from brushloop.agent import crafts, words
from brushloop.agent.chapters import Chapter, Entry, chapters, thing
from brushloop.canvas import Brief, Frame, Plan, Status, StepKind, Task
from brushloop.creation import Creation
from brushloop.errors import InputError
from brushloop.painter.domains import Domain, domains
from brushloop.record import plain, png_from
from brushloop.tutorial.book import Book
from brushloop.tutorial.guide import Act, Difficulty, Guide, GuideStep, Shot, Source, short

if TYPE_CHECKING:
    from PIL.Image import Image

_ACTS: dict[StepKind, Act] = {StepKind.DRAFT: "draft", StepKind.REFINE: "refine", StepKind.HUMAN: "human"}


def book_of(creation: Creation, name: str = "guide") -> Book:
    """The guide of a creation, with its pictures.

    Raises:
        InputError: nothing has been painted yet.
        StoreError: a step is missing or changed.
    """
    if frames := crafts.frames(creation):
        return Book(_of_process(creation, frames), creation.store.get_image, name)
    told = chapters(creation)
    stood = _stood(told)
    if not stood:
        raise InputError(f"creation {creation.id} has no picture yet, so there is nothing to tell: resume it first")
    steps: list[GuideStep] = []
    before = _given(creation.brief, stood[0][1])
    for chapter, entry, failed in stood:
        for step in (*_frames(entry), _step(creation.plan, chapter, entry, failed)):
            steps.append(step.model_copy(update={"before": before}))
            before = step.after
    brief, plan = creation.brief, creation.plan
    size = f"a canvas of {before.frame.width} × {before.frame.height} pixels" if before else ""
    tools, materials = needs(plan)
    guide = Guide(
        title=short(brief.prompt),
        introduction=_introduction(creation, len(steps)),
        materials=materials or tuple(filter(None, [size, *map(thing, plan.elements if plan else ())])),
        tools=tuple(dict.fromkeys((*tools, *(tool for step in steps for tool in step.tools)))),
        seconds=sum(float(creation.store.measurements(digest).get("seconds", 0)) for digest in creation.hashes),
        difficulty=difficulty(len(steps)),
        steps=tuple(steps),
        states=tuple(step.after.frame for step in steps),
        source=Source(id=creation.id, head=creation.head),
    )
    return Book(guide, creation.store.get_image, name)


def _of_process(creation: Creation, frames: Sequence[Frame]) -> Guide:
    """The guide to a creation whose steps are the frames of a process."""
    brief, made = creation.brief, [step for step in creation.steps if "frame" in step.settings]
    told = f"{creation.plan.domain if creation.plan else 'A process'}, in {len(frames)} steps."
    if brief.task is Task.RECRAFT:
        told += " The last state is the picture given; those before it were painted backwards from it."
    tools, materials = needs(creation.plan)
    model = made[0].model.id if made[0].model else ""
    title, texts = short(brief.prompt), [step.text for step in made]
    guide = process_guide(title, frames, texts, model, told[0].upper() + told[1:], tools=tools, materials=materials)
    seconds = sum(float(creation.store.measurements(digest).get("seconds", 0)) for digest in creation.hashes)
    return guide.model_copy(update={"seconds": seconds, "source": Source(id=creation.id, head=creation.head)})


def needs(plan: Plan | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Tools and materials of what is planned: those that the plan names, else those of its domain; or none."""
    if plan is None:
        return (), ()
    known = next((each for each in domains() if each.name == plan.domain), None)
    return plan.tools or (known.tools if known else ()), plan.materials or (known.materials if known else ())


def process_guide(
    title: str,
    frames: Sequence[Frame],
    texts: Sequence[str] = (),
    tool: str = "",
    introduction: str = "",
    *,
    tools: Sequence[str] = (),
    materials: Sequence[str] = (),
) -> Guide:
    """A guide to a process: its frames in order, each with what to do (a process may have no words).

    Args:
        title: what is made.
        frames: the states of the work, in order.
        texts: what to do for each of them; or none.
        tool: what every step uses.
        introduction: the sentences before the steps.
        tools: what is used besides; nobody has said in which steps.
        materials: what it is made of.

    Raises:
        InputError: there is no frame, or the texts are not as many as the frames.
    """
    if not frames:
        raise InputError("a process without a frame cannot be told: give at least one")
    if texts and len(texts) != len(frames):
        raise InputError(f"the process has {len(frames)} frames and {len(texts)} texts: give one for each, or none")
    steps: list[GuideStep] = []
    for number, frame in enumerate(frames, 1):
        text = texts[number - 1].strip() if texts else ""
        shot = Shot(frame=frame, alt=f"The work after step {number} of {len(frames)}" + (f": {text}" if text else ""))
        steps.append(
            GuideStep(
                title=_sentence(text) if text else f"Step {number}",
                text=_sentence(text, "."),
                before=steps[-1].after if steps else None,
                after=shot,
                tools=(tool,) if tool else (),
            )
        )
    return Guide(
        title=title,
        introduction=introduction,
        steps=tuple(steps),
        tools=((tool,) if tool else ()) + tuple(tools),
        materials=tuple(materials),
        states=tuple(frames),
        difficulty=difficulty(len(steps)),
    )


def process_book(
    title: str,
    images: Sequence[Image],
    texts: Sequence[str] = (),
    introduction: str = "",
    name: str = "guide",
    domain: Domain | None = None,
) -> Book:
    """The guide to a process whose frames are pictures in memory, as `process_guide` makes it.

    With a domain it names the tools and materials of that.

    Raises:
        InputError: there is no frame, or the texts are not as many as the frames.
    """
    pixels: dict[Frame, Image] = {}
    frames = []
    for image in images:
        image = plain(image)
        digest = hashlib.sha256(png_from(image)).hexdigest()
        frames.append(Frame(hash=digest, width=image.width, height=image.height))
        pixels[frames[-1]] = image
    tools, materials = (domain.tools, domain.materials) if domain else ((), ())
    guide = process_guide(short(title), frames, texts, "", introduction, tools=tools, materials=materials)
    return Book(guide, pixels.__getitem__, name)


def difficulty(steps: int) -> Difficulty:
    """How hard it is to follow: by the number of steps."""
    return "easy" if steps <= 4 else "moderate" if steps <= 9 else "difficult"


def _stood(told: list[Chapter]) -> list[tuple[Chapter, Entry, list[Entry]]]:
    """Pictures that became the best one, each with the attempts before it that were rolled back.

    One that was never judged (a person's, or the last before a stop) counts, if nothing that stood is after it.
    """
    found: list[tuple[Chapter, Entry, list[Entry]]] = []
    failed: list[Entry] = []
    for chapter in told:
        for entry in chapter.entries:
            if entry.after is None or not entry.step.outputs or entry.step.kind not in _ACTS:
                continue
            if entry.stood is False:
                failed.append(entry)
            elif not found or found[-1][1].after != entry.after or len(entry.step.outputs) > 1:
                found.append((chapter, entry, failed))
                failed = []
    final = next((e.after for c in reversed(told) for e in c.entries if e.step.kind is StepKind.FINISH), None)
    shown = [entry.after for _, entry, _ in found]
    if final in shown:  # what the finish step chose as best ends the guide
        del found[len(shown) - shown[::-1].index(final) :]
    return found


def _frames(entry: Entry) -> list[GuideStep]:
    """What led to the picture of a plan step that was made as a process, frame by frame."""
    frames = entry.step.outputs
    kind = next((each for each in domains() if each.name == entry.step.settings.get("domain")), None)
    if len(frames) < 2 or kind is None:
        return []
    texts = [kind.text(number, len(frames)) for number in range(len(frames))]
    tool = entry.step.model.id if entry.step.model else ""
    return list(process_guide("The making", frames, texts, tool).steps[:-1])


def _step(plan: Plan | None, chapter: Chapter, entry: Entry, failed: list[Entry]) -> GuideStep:
    assert entry.after is not None
    act, stroke = _ACTS[entry.step.kind], chapter.stroke
    doing = entry.step.text or (stroke.instruction if stroke else "")
    if act == "human":
        doing = "A person put another picture in its place" if doing == "another picture" else doing
    elif act == "draft" and stroke:
        doing = stroke.instruction
    text = [_sentence(doing, ".")]
    if act == "draft" and chapter.things:
        text.append(f"This adds: {', '.join(chapter.things)}.")
    if act == "draft" and stroke and stroke.expected:
        text.append(f"Then to be seen: {_sentence(stroke.expected, '.', capital=False)}")
    if act == "refine" and stroke and stroke.instruction != doing:
        text.append(f"It belongs to: {_sentence(stroke.instruction, '.', capital=False)}")
    seen = [name for status, name, _, _ in entry.findings if status is Status.PRESENT]
    return GuideStep(
        title=_sentence(doing) or "Paint",
        text=" ".join(text),
        tip=_tip(entry, failed),
        after=Shot(frame=entry.after, alt=_alt(doing, seen)),
        tools=(entry.step.model.id,) if entry.step.model else ("a person's hand",) if act == "human" else (),
        act=act,
        seconds=float(entry.measured.get("seconds", 0)),
        stroke=plan.steps.index(stroke) if plan and stroke in plan.steps else None,
    )


def _tip(entry: Entry, failed: list[Entry]) -> str:
    """What the critic saw in this state, what it asked for, and what had been tried in vain."""
    said = []
    if failed:
        many = f"{len(failed)} attempts before it were" if len(failed) > 1 else "An attempt before it was"
        last = failed[-1]
        why = f": {words.of_critique(last.plan, last.critique)}" if last.plan and last.critique else ""
        said.append(f"{many} taken back{why}.")
    if entry.plan and entry.critique:
        said.append(f"A look at it: {words.of_critique(entry.plan, entry.critique)}.")
        said += [f"To do: {correction.instruction}." for correction in entry.corrections]
    return " ".join(said)


def _alt(doing: str, seen: list[str]) -> str:
    return f"After: {doing}" + (f". To be seen: {', '.join(seen)}" if seen else "")


def _given(brief: Brief, first: Entry) -> Shot | None:
    """The picture that an edit began with."""
    if brief.task is not Task.EDIT or first.before is None:
        return None
    return Shot(frame=first.before, alt="The picture as it was given")


def _introduction(creation: Creation, number: int) -> str:
    brief, plan = creation.brief, creation.plan
    told = [] if short(brief.prompt) == brief.prompt else [f"{brief.prompt.strip()}\n"]
    told.append(f"How this picture came about, in {number} step{'s' * (number > 1)}.")
    if plan:
        told.append(f"The plan had {words.of_plan(plan)}.")
    if plan and plan.style:
        told.append(f"Style: {plan.style}.")
    if not creation.finished:
        told.append("It is not finished.")
    elif creation.steps[-1].text:
        told.append(f"At the end: {creation.steps[-1].text}.")
    return " ".join(told)


def _sentence(text: str, stop: str = "", *, capital: bool = True) -> str:
    """Words as a sentence; a stop is added where the script ends its sentences with a dot."""
    text = text.strip()
    if not text:
        return ""
    dotted = unicodedata.name(text[-1], "").split(" ")[0] in ("LATIN", "CYRILLIC", "GREEK", "ARABIC", "HEBREW", "DIGIT")
    return (text[0].upper() if capital else text[0]) + text[1:] + (stop if dotted or text[-1] in ")'\"" else "")
