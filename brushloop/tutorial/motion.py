"""A guide as a time-lapse: GIF and WebP by Pillow, MP4 (H.264) by PyAV. Pictures alone, no text.

Pictures of several sizes are fitted to the size of the last one. Small ones are enlarged, so that a player shows
more than a stamp.
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from brushloop.tutorial.book import Book

if TYPE_CHECKING:
    from PIL.Image import Image

EACH = 900
"""Milliseconds that a state stays."""
LAST = 2700
"""Milliseconds that the last state stays."""
SMALLEST = 384
"""Pixels: the longest side is at least this long (a whole multiple of the picture's own)."""
RATE = 10
"""Frames a second of the film."""


def gif(book: Book) -> bytes:
    """An animated GIF that goes on for ever."""
    from PIL import Image

    pictures = [picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=256) for picture in _states(book)]
    return _animated(pictures, "GIF", disposal=1, optimize=False)


def webp(book: Book) -> bytes:
    """An animated WebP without loss that goes on for ever."""
    return _animated(_states(book), "WEBP", lossless=True, quality=60, method=3)


def mp4(book: Book) -> bytes:
    """A film: H.264, 4:2:0, ready to be streamed."""
    pictures = [_even(picture) for picture in _states(book)]
    with tempfile.TemporaryDirectory() as folder:  # a header in front (+faststart) is written into a file, second
        path = Path(folder) / "film.mp4"
        _film(pictures, str(path))
        return path.read_bytes()


def _film(pictures: list[Image], path: str) -> None:
    import av
    from PIL import Image

    with av.open(path, "w", format="mp4", options={"movflags": "+faststart"}) as film:
        stream = film.add_stream("libx264", rate=RATE, options={"crf": "18", "preset": "veryfast", "threads": "1"})
        stream.width, stream.height = pictures[0].size
        stream.pix_fmt = "yuv420p"
        for number, picture in enumerate(pictures):
            stays = LAST if number == len(pictures) - 1 else EACH
            for _ in range(stays * RATE // 1000):
                film.mux(stream.encode(av.VideoFrame.from_image(picture)))
            if number + 1 < len(pictures):  # melt into the next
                for share in (0.33, 0.67):
                    melted = Image.blend(picture, pictures[number + 1], share)
                    film.mux(stream.encode(av.VideoFrame.from_image(melted)))
        film.mux(stream.encode())


def _states(book: Book) -> list[Image]:
    """Every state of the guide as RGB, all of one size, beginning with what was given."""
    from PIL import Image, ImageOps

    steps = book.guide.steps
    frames = [steps[0].before.frame] if steps[0].before else []
    frames += [step.after.frame for step in steps]
    width, height = frames[-1].width, frames[-1].height
    times = max(1, -(-SMALLEST // max(width, height)))
    size = width * times, height * times
    shown = []
    for frame in frames:
        image = book.image(frame)
        flat = Image.new("RGB", image.size, "white")
        flat.paste(image, mask=image.getchannel("A") if "A" in image.getbands() else None)
        shown.append(ImageOps.pad(flat, size, Image.Resampling.LANCZOS, color="white") if flat.size != size else flat)
    return shown


def _animated(pictures: list[Image], kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    stays = [EACH] * (len(pictures) - 1) + [LAST]
    first, rest = pictures[0], pictures[1:]
    first.save(buffer, kind, save_all=True, append_images=rest, duration=stays, loop=0, **options)
    return buffer.getvalue()


def _even(picture: Image) -> Image:
    """H.264 with 4:2:0 wants even sides."""
    width, height = picture.size
    return picture.crop((0, 0, width - width % 2, height - height % 2))
