"""Process grids: frames laid out in a serpentine, so that those that follow in time touch in space.

3x3: row 0 from left to right, row 1 from right to left, row 2 from left to right. 2x2: top left, top right,
bottom right, bottom left (MakeAnything, section 3.2). Here are also the letterboxes that let pictures of any
size and ratio stand in a square cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from brushloop.record import plain

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Layout:
    """Rows and columns of a grid."""

    rows: int
    columns: int

    @classmethod
    def of(cls, name: str) -> Layout:
        """From its name, such as `3x3`."""
        rows, columns = map(int, name.split("x"))
        return cls(rows, columns)

    def __str__(self) -> str:
        return f"{self.rows}x{self.columns}"

    @property
    def frames(self) -> int:
        """Cells of the grid."""
        return self.rows * self.columns

    @property
    def cells(self) -> tuple[tuple[int, int], ...]:
        """(row, column) of each frame, in the order of time."""
        return tuple(
            (row, column if row % 2 == 0 else self.columns - 1 - column)
            for row in range(self.rows)
            for column in range(self.columns)
        )

    def assemble(self, frames: Sequence[Image]) -> Image:
        """One picture of all frames, which are of one size.

        Raises:
            ValueError: there are more or fewer frames than cells, or they differ in size.
        """
        from PIL import Image

        sizes = {frame.size for frame in frames}
        if len(frames) != self.frames or len(sizes) != 1:
            raise ValueError(f"a {self} grid takes {self.frames} frames of one size, not {len(frames)} of {len(sizes)}")
        (width, height) = sizes.pop()
        grid = Image.new("RGB", (self.columns * width, self.rows * height))
        for frame, (row, column) in zip(frames, self.cells, strict=True):
            grid.paste(frame, (column * width, row * height))
        return grid

    def split(self, grid: Image) -> tuple[Image, ...]:
        """The frames of a grid, in the order of time.

        Raises:
            ValueError: the grid's size is no multiple of its rows and columns.
        """
        if grid.width % self.columns or grid.height % self.rows:
            raise ValueError(f"{grid.width}x{grid.height} pixels cannot be split {self}")
        width, height = grid.width // self.columns, grid.height // self.rows
        return tuple(
            grid.crop((column * width, row * height, (column + 1) * width, (row + 1) * height))
            for row, column in self.cells
        )


@dataclass(frozen=True)
class Letterbox:
    """Where a picture of any size stands in a square cell: scaled to fit, centred, with paper around it."""

    size: tuple[int, int]
    """Width and height of the picture, in pixels."""
    cell: int
    """Side of the cell, in pixels."""

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom of the picture in the cell; never less than a pixel wide or high."""
        longest = max(self.size)
        width, height = (max(1, round(side * self.cell / longest)) for side in self.size)
        left, top = (self.cell - width) // 2, (self.cell - height) // 2
        return left, top, left + width, top + height

    def put(self, picture: Image) -> Image:
        """The picture in its cell, RGB; what is transparent becomes white, and so does the paper."""
        from PIL import Image

        left, top, right, bottom = self.box
        cell = Image.new("RGB", (self.cell, self.cell), "white")
        small = flat(picture).resize((right - left, bottom - top), Image.Resampling.LANCZOS)
        cell.paste(small, (left, top))
        return cell

    def take(self, cell: Image) -> Image:
        """What stands in the picture's place in a cell, at the picture's size."""
        from PIL import Image

        part = cell.crop(self.box)
        return part if part.size == self.size else part.resize(self.size, Image.Resampling.LANCZOS)


def flat(picture: Image) -> Image:
    """Upright, RGB, on white, whatever its mode: palette, grey, 16 bits, alpha, EXIF rotation."""
    from PIL import Image

    if picture.mode.startswith("I"):  # 16 bits: Pillow's own conversion would cut instead of scale
        picture = picture.convert("F").point(lambda value: value / 257 + 0.5).convert("L")
    picture = plain(picture)
    paper = Image.new("RGB", picture.size, "white")
    paper.paste(picture.convert("RGB"), mask=picture.getchannel("A") if picture.mode == "RGBA" else None)
    return paper
