r"""Copy the icons that the worlds use out of npm packages into compact, attributed JSON files, and draw the signs.

npm install @iconify-json/fluent-emoji-flat@1.2.6 @iconify-json/noto@1.2.9 \
    @iconify-json/fluent-emoji-high-contrast@1.2.6 @iconify-json/noto-v1@1.2.5
python scripts/vendor_art.py node_modules/@iconify-json
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from pathlib import Path
from typing import Any

from brushloop.supervision.world.svg import ART
from brushloop.supervision.world.worlds import LARGE

SOURCES = {
    "flat": ("fluent-emoji-flat", "Microsoft Fluent Emoji (flat), MIT, @iconify-json/fluent-emoji-flat 1.2.6"),
    "soft": ("noto", "Google Noto Emoji, Apache-2.0, @iconify-json/noto 1.2.9"),
    "ink": (
        "fluent-emoji-high-contrast",
        "Microsoft Fluent Emoji (high contrast), MIT, @iconify-json/fluent-emoji-high-contrast 1.2.6; on white paper",
    ),
    "retro": ("noto-v1", "Google Noto Emoji (first edition), Apache-2.0, @iconify-json/noto-v1 1.2.5"),
}
SIGN = "sign-"
"""How the icons of signs begin; the rest is the word."""


def main(packages: Path) -> None:
    """Write one JSON file a style: source, licence, view box, and an SVG body for each object."""
    for style, (package, source) in SOURCES.items():
        icons = json.loads((packages / package / "icons.json").read_text())
        view = int(icons.get("width", 16)), int(icons.get("height", icons.get("width", 16)))
        bodies = {}
        for thing in LARGE.things:
            if thing.icon.startswith(SIGN):
                bodies[thing.name] = sign(thing.icon.removeprefix(SIGN).upper(), style, view[0] / 32)
            else:
                body = found(icons, thing.icon)
                bodies[thing.name] = printed(body) if style == "ink" else body
        text = json.dumps({"source": source, "view": view, "icons": bodies}, indent=0) + "\n"
        out = ART / f"{style}.json.gz"
        out.write_bytes(gzip.compress(text.encode(), mtime=0))
        print(out, len(bodies), out.stat().st_size)


def found(icons: dict[str, Any], name: str) -> str:
    """The body of an icon, by its name or another name of it."""
    alias = icons.get("aliases", {}).get(name, {"parent": name})
    if set(alias) > {"parent"}:
        raise SystemExit(f"{icons['prefix']}:{name} is a turned {alias['parent']}: name another icon")
    body: str = icons["icons"][alias["parent"]]["body"]
    return body


# Ink: black shapes would be lost on a dark background, so that they are printed on paper cut out around them

BLACK, MARGIN = "#1d1d22", 2.6
NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?", re.I)
TAKES = {"m": 2, "l": 2, "h": 1, "v": 1, "c": 6, "s": 4, "q": 4, "t": 2, "a": 7, "z": 0}


def printed(body: str) -> str:
    """A black icon on white paper that is a little larger than its outline."""
    drawn = re.sub(r"<(defs|mask).*?</\1>", "", body)
    if re.search(r"<(?!path|g|/g)", drawn) or "transform" in drawn:
        raise SystemExit(f"an icon of other shapes than paths: {drawn}")
    paper = "".join(f'<path d="{path}"/>' for each in re.findall(r' d="([^"]+)"', drawn) for path in outlines(each))
    ink = body.replace("currentColor", BLACK)
    return (
        f'<g transform="translate(1.6 1.6) scale(.9)"><g fill="#fff" stroke="#fff" stroke-width="{MARGIN}" '
        f'stroke-linejoin="round">{paper}</g>{ink}</g>'
    )


def outlines(d: str) -> list[str]:
    """The closed curves of a path that lie within no other, each as a path of its own (M and what follows)."""
    curves: list[tuple[str, list[float], list[float]]] = []
    x = y = startx = starty = 0.0
    for command, numbers in commands(d):
        kind, relative = command.lower(), command.islower()
        if kind == "m":
            x, y = (x + numbers[0], y + numbers[1]) if relative else (numbers[0], numbers[1])
            startx, starty = x, y
            curves.append((f"M{x:.2f} {y:.2f}", [x], [y]))
            continue
        if kind == "z":
            x, y = startx, starty
            continue
        text, xs, ys = curves[-1]
        if kind == "h":
            x = x + numbers[0] if relative else numbers[0]
        elif kind == "v":
            y = y + numbers[0] if relative else numbers[0]
        else:
            x, y = (x + numbers[-2], y + numbers[-1]) if relative else (numbers[-2], numbers[-1])
        curves[-1] = text + command + " ".join(f"{number:g}" for number in numbers), [*xs, x], [*ys, y]
    boxes = [(min(xs), min(ys), max(xs), max(ys)) for _, xs, ys in curves]

    def inside(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
        return one != other and other[0] <= one[0] and other[1] <= one[1] and one[2] <= other[2] and one[3] <= other[3]

    return [text for (text, _, _), box in zip(curves, boxes, strict=True) if not any(inside(box, b) for b in boxes)]


def commands(d: str) -> list[tuple[str, list[float]]]:
    """A path as commands with their numbers; repeated ones are spelt out."""
    told = []
    for command, rest in re.findall(r"([a-zA-Z])([^a-zA-Z]*(?:e[-+]?\d[^a-zA-Z]*)*)", d):
        takes, at, first = TAKES[command.lower()], 0, True
        while first or (takes and NUMBER.search(rest, at)):
            numbers: list[float] = []
            while len(numbers) < takes:
                flag = command.lower() == "a" and len(numbers) in (3, 4)  # flags need no space after them
                match = re.compile(r"[01]").search(rest, at) if flag else NUMBER.search(rest, at)
                assert match is not None, d
                numbers.append(float(match.group()))
                at = match.end()
            if not first and command in "mM":
                command = "l" if command == "m" else "L"
            told.append((command, numbers))
            first = False
            if not takes:
                break
    return told


# Signs: a board with letters drawn as strokes, six units high ---------------------------------------------------

LETTERS = {  # width, strokes
    "A": (4.2, "M0 6L2.1 0L4.2 6M.8 4H3.4"),
    "B": (3.7, "M0 6V0H2A1.5 1.5 0 0 1 2 3H0M2 3A1.5 1.5 0 0 1 2 6H0"),
    "C": (4.0, "M4 1C3.5 .3 2.9 0 2.2 0C.7 0 0 1.4 0 3S.7 6 2.2 6C2.9 6 3.5 5.7 4 5"),
    "E": (3.4, "M3.4 0H0V6H3.4M0 3H2.8"),
    "F": (3.4, "M3.4 0H0V6M0 3H2.8"),
    "H": (3.8, "M0 0V6M3.8 0V6M0 3H3.8"),
    "I": (0.0, "M0 0V6"),
    "L": (3.2, "M0 0V6H3.2"),
    "M": (4.8, "M0 6V0L2.4 4L4.8 0V6"),
    "N": (3.8, "M0 6V0L3.8 6V0"),
    "O": (4.2, "M2.1 0C.7 0 0 1.4 0 3S.7 6 2.1 6S4.2 4.6 4.2 3S3.5 0 2.1 0Z"),
    "P": (3.7, "M0 6V0H2A1.7 1.7 0 0 1 2 3.4H0"),
    "S": (3.9, "M3.7 .9C3.2 .3 2.7 0 1.9 0C.8 0 .2 .7 .2 1.5C.2 2.4 .9 2.7 1.9 3C3.1 3.3 3.9 3.7 3.9 4.6"
               "C3.9 5.5 3.1 6 1.9 6C1.1 6 .5 5.7 0 5.1"),
    "T": (4.0, "M0 0H4M2 0V6"),
    "U": (3.8, "M0 0V4C0 5.3 .7 6 1.9 6S3.8 5.3 3.8 4V0"),
    "X": (4.0, "M0 0L4 6M4 0L0 6"),
    "Y": (4.0, "M0 0L2 3L4 0M2 3V6"),
    "Z": (3.8, "M0 0H3.8L0 6H3.8"),
}  # fmt: skip


def sign(word: str, style: str, scale: float) -> str:
    """A sign with a word on it, as the style would draw one; `scale` is the style's view box over 32."""
    width = sum(LETTERS[letter][0] for letter in word) + 1.9 * (len(word) - 1)
    size = min(24.5 / (width + 1.1), 2.2)
    high = 6 * size + 7.5
    left, top = 16 - width * size / 2, 16 - 3 * size
    letters, x = "", 0.0
    for letter in word:
        wide, strokes = LETTERS[letter]
        letters += f'<path d="{strokes}" transform="translate({left + x * size:.2f} {top:.2f}) scale({size:.3f})"/>'
        x += wide + 1.9
    edge = 16 - high / 2

    def board(fill: str, inset: float = 0.0, corner: float = 2.0) -> str:
        wide, tall = 30 - 2 * inset, high - 2 * inset
        corners = f'x="{1 + inset:g}" y="{edge + inset:.2f}" width="{wide:g}" height="{tall:.2f}" rx="{corner:g}"'
        return f'<rect {corners} fill="{fill}"/>'

    def lettered(color: str) -> str:
        return (
            f'<g fill="none" stroke="{color}" stroke-width="1.15" stroke-linecap="round" stroke-linejoin="round">'
            f"{letters}</g>"
        )

    post = f'<rect x="14" y="{edge + high - 1:.2f}" width="4" height="{17 - high / 2:.2f}" fill="{{}}"/>'
    drawn = {
        "flat": board("#2c7be0", corner=3) + lettered("#fff"),
        "soft": post.format("#8a6a4f") + board("#b3261e", corner=1.5) + board("#e8473c", 1.2, 1) + lettered("#fffbe9"),
        "ink": board("#fff", corner=3) + board(BLACK, 1, 2.4) + lettered("#fff"),
        "retro": post.format("#78909c") + board("#f57c00", corner=0.6) + lettered("#fff3e0"),
    }[style]
    return drawn if scale == 1 else f'<g transform="scale({scale:g})">{drawn}</g>'


if __name__ == "__main__":
    main(Path(sys.argv[1]))
