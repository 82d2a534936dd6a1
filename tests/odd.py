"""Pictures as people really have them: some are taken as they look, some refused."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

TAKEN = {"alpha.png", "palette.png", "sixteen.png", "turned.jpg", "dot.png"}
REFUSED = {
    "moving.png": "holds 2 pictures: give one that does not move",
    "moving.gif": "is not a whole PNG or JPEG or WEBP picture",
    "long.png": "claims 20000x10 pixels",
}


def pictures(where: Path) -> None:
    """Write them all into a folder."""
    grey = Image.linear_gradient("L").resize((64, 48))
    colour, back = grey.convert("RGB"), grey.rotate(180)
    clear = colour.convert("RGBA")
    clear.putalpha(back)
    clear.save(where / "alpha.png")
    colour.convert("P").save(where / "palette.png", transparency=0)
    Image.new("I", (64, 48), 128 * 257).convert("I;16").save(where / "sixteen.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter to the right: it looks 48 wide and 64 high
    colour.save(where / "turned.jpg", exif=exif)
    Image.new("RGB", (1, 1), "red").save(where / "dot.png")
    grey.save(where / "moving.png", save_all=True, append_images=[back])
    grey.convert("P").save(where / "moving.gif", save_all=True, append_images=[back.convert("P")])
    Image.new("RGB", (20_000, 10)).save(where / "long.png")
