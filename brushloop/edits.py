"""The 26 kinds of edit: what each one means, which expert of the editor it belongs to, and what it has to see.

The kinds and their grouping are those of AnyEdit (section 3 and its table of definitions); the words are ours. The
definitions are what a model is shown when it is asked which kind an instruction is.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from brushloop.canvas import EditType


class Group(StrEnum):
    """Families of edits."""

    LOCAL = "local"
    GLOBAL = "global"
    CAMERA = "camera"
    IMPLICIT = "implicit"
    VISUAL = "visual"


class Expert(StrEnum):
    """The nine experts of the editor (AnySD, section 4.2). Which of them an edit uses is learned, not looked up."""

    LOOK = "look"
    VIEW = "view"
    BOX = "box"
    DEPTH = "depth"
    MATERIAL = "material"
    REFERENCE = "reference"
    SCRIBBLE = "scribble"
    SEGMENTATION = "segmentation"
    SKETCH = "sketch"


class Definition(NamedTuple):
    """What a kind of edit means."""

    group: Group
    about: str
    example: str
    expert: Expert | None = None
    """Whose subject it is in AnySD's own table; None where the general path does it."""
    visual: bool = False
    """Whether it is told by a picture besides the words: a depth map, a sketch, a reference."""


DEFINITIONS: dict[EditType, Definition] = {
    EditType.ADD: Definition(Group.LOCAL, "a new thing appears", "add a red ball to the lawn"),
    EditType.REMOVE: Definition(Group.LOCAL, "a thing goes, and what was behind it shows", "erase the lamp post"),
    EditType.REPLACE: Definition(Group.LOCAL, "another thing takes a thing's place", "turn the cat into a dog"),
    EditType.COLOR: Definition(Group.LOCAL, "a thing gets another colour", "make the car blue"),
    EditType.APPEARANCE: Definition(
        Group.LOCAL, "a thing keeps its kind and gets another look or decoration", "give the cup a floral pattern"
    ),
    EditType.MATERIAL: Definition(
        Group.LOCAL, "a thing is made of something else, named in words", "make the statue of glass"
    ),
    EditType.ACTION: Definition(Group.LOCAL, "a creature does something else", "let the dog sit down"),
    EditType.TEXTUAL: Definition(
        Group.LOCAL, "written words in the picture are added, changed or removed", "let the sign say OPEN"
    ),
    EditType.COUNTING: Definition(Group.LOCAL, "there are more or fewer of a thing", "make it three apples"),
    EditType.BACKGROUND: Definition(
        Group.GLOBAL, "the same things stand before another background", "put them on a beach", Expert.LOOK
    ),
    EditType.TONE: Definition(
        Group.GLOBAL, "light, season, weather or overall colours change", "make it evening light", Expert.LOOK
    ),
    EditType.STYLE: Definition(
        Group.GLOBAL, "the whole picture takes a style named in words", "make it a watercolour", Expert.LOOK
    ),
    EditType.MOVE: Definition(
        Group.CAMERA, "a thing, or the view, shifts to another place", "move the boat to the left", Expert.VIEW
    ),
    EditType.OUTPAINT: Definition(
        Group.CAMERA, "the picture goes on beyond its edges", "show more of the street on both sides", Expert.VIEW
    ),
    EditType.ROTATION: Definition(
        Group.CAMERA, "a thing, or the view, is turned", "turn the clock upside down", Expert.VIEW
    ),
    EditType.RESIZE: Definition(
        Group.CAMERA, "a thing grows or shrinks, or the view zooms", "make the moon larger", Expert.VIEW
    ),
    EditType.IMPLICIT: Definition(
        Group.IMPLICIT, "what changes follows from the words but is not named", "what happens if the ice melts?"
    ),
    EditType.RELATION: Definition(
        Group.IMPLICIT, "things stand in another relation to each other", "put the cup on top of the book"
    ),
    EditType.DEPTH: Definition(
        Group.VISUAL, "follow the distances of a depth map", "follow the depth map", Expert.DEPTH, True
    ),
    EditType.SKETCH: Definition(
        Group.VISUAL, "follow the lines of a clean sketch", "follow the sketch", Expert.SKETCH, True
    ),
    EditType.SCRIBBLE: Definition(
        Group.VISUAL, "follow a rough scribble", "turn this scribble into a picture", Expert.SCRIBBLE, True
    ),
    EditType.SEGMENTATION: Definition(
        Group.VISUAL, "follow the areas of a segmentation map", "follow the colour map", Expert.SEGMENTATION, True
    ),
    EditType.BOX: Definition(
        Group.VISUAL, "put things where the boxes of a drawing are", "put a dog into the box", Expert.BOX, True
    ),
    EditType.MATERIAL_TRANSFER: Definition(
        Group.VISUAL, "a thing takes the material that a picture shows", "make the chair of this", Expert.MATERIAL, True
    ),
    EditType.REFERENCE: Definition(
        Group.VISUAL, "the thing in another picture takes its place", "replace the dog with this", Expert.REFERENCE,
        True,
    ),
    EditType.STYLE_TRANSFER: Definition(
        Group.VISUAL, "it takes the style of another picture", "paint it in this style", Expert.LOOK, True
    ),
}  # fmt: skip
"""Every kind of edit."""

STAGE_ONE = (
    EditType.BACKGROUND, EditType.TONE, EditType.REMOVE, EditType.REPLACE, EditType.ADD, EditType.COLOR,
    EditType.APPEARANCE,
)  # fmt: skip
"""Kinds that the first stage of training learns: what instructions mean (AnySD, section 4.3)."""


def everywhere(edit: EditType) -> bool:
    """Whether an edit of this kind changes the whole canvas, whatever region it names."""
    return DEFINITIONS[edit].group is Group.GLOBAL or edit is EditType.OUTPAINT
