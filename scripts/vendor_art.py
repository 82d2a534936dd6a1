"""Copy the icons the world uses out of two npm packages into compact, attributed JSON files.

npm install @iconify-json/fluent-emoji-flat@1.2.6 @iconify-json/noto@1.2.9
python scripts/vendor_art.py node_modules/@iconify-json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from brushloop.supervision.world.art import ART, OBJECTS

SOURCES = {
    "flat": ("fluent-emoji-flat", "Microsoft Fluent Emoji (flat), MIT, @iconify-json/fluent-emoji-flat 1.2.6"),
    "soft": ("noto", "Google Noto Emoji, Apache-2.0, @iconify-json/noto 1.2.9"),
}


def main(packages: Path) -> None:
    """Write one JSON file a style: source, licence, view box, and an SVG body for each object."""
    for style, (package, source) in SOURCES.items():
        icons = json.loads((packages / package / "icons.json").read_text())
        view = int(icons.get("width", 16)), int(icons.get("height", icons.get("width", 16)))
        bodies = {thing.name: icons["icons"][thing.icon]["body"] for thing in OBJECTS}
        out = ART / f"{style}.json"
        out.write_text(json.dumps({"source": source, "view": view, "icons": bodies}, indent=0) + "\n")
        print(out, len(bodies), out.stat().st_size)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
