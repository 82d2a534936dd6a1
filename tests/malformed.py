"""Three hundred picture files that are no pictures, and a process that is asked to read them all.

python malformed.py FOLDER    reads every file there; prints seconds, errors, and the most memory used
"""

from __future__ import annotations

import io
import json
import random
import resource
import struct
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, rows: bytes, *extra: bytes, depth: int = 8, color: int = 2) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    return SIGNATURE + header + b"".join(extra) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def bomb(megabytes: int) -> bytes:
    """So much of nothing, deflated."""
    pack = zlib.compressobj(9)
    parts = [pack.compress(bytes(2**20)) for _ in range(megabytes)]
    return b"".join([*parts, pack.flush()])


def whole() -> dict[str, bytes]:
    """Good files of the three kinds, to be spoiled."""
    from PIL import Image

    noise = Image.effect_noise((64, 48), 90).convert("RGB")
    files = {}
    for kind, more in (("PNG", {}), ("JPEG", {"progressive": True}), ("WEBP", {"lossless": True})):
        buffer = io.BytesIO()
        noise.save(buffer, kind, **more)
        files[kind.lower()] = buffer.getvalue()
    return files


def animated(kind: str) -> bytes:
    from PIL import Image

    frames = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in range(0, 250, 10)]
    buffer = io.BytesIO()
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def foreign() -> Iterator[bytes]:
    """Other kinds of files, some of which Pillow would gladly open."""
    from PIL import Image

    for kind in ("GIF", "BMP", "TIFF", "PPM", "TGA", "ICO", "PCX", "SGI", "IM", "DDS", "PDF", "EPS"):
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8)).save(buffer, kind)
        yield buffer.getvalue()
    yield b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    yield b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><svg>&a;</svg>"
    yield b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(/etc/passwd) (r) file\n"
    yield b"#!/bin/sh\necho hello\n"
    yield b"PK\x03\x04" + bytes(60)
    yield b"GIF89a" + bytes(40)
    yield b""
    yield b"\0" * 100_000


def claims() -> Iterator[bytes]:
    """Headers that promise too much, and files that unfold to far more than they are."""
    row = zlib.compress(bytes(100))
    for size in ((2**31 - 1, 2**31 - 1), (65_500, 65_500), (20_000, 900), (4097, 4096), (0, 10), (10, 0), (2**31, 8)):
        yield png(*size, row)
    yield png(4096, 4096, bomb(1))
    yield png(4096, 4096, bomb(48)[:-9])
    yield png(64, 64, row, depth=77)
    yield png(64, 64, row, color=9)
    yield png(64, 64, row, chunk(b"zTXt", b"brushloop\0\0" + bomb(300)))
    yield png(64, 64, row, chunk(b"iTXt", b"brushloop\0\1\0\0\0" + bomb(300)))
    yield png(64, 64, row, chunk(b"iCCP", b"icc\0\0" + bomb(300)))
    yield png(64, 64, row, *[chunk(b"zTXt", b"k%d\0\0" % n + bomb(1)) for n in range(200)])
    yield png(64, 64, row, chunk(b"PLTE", bytes(7)))
    yield png(64, 64, row, struct.pack(">I", 2**32 - 1) + b"tEXt")
    yield SIGNATURE + b"\xff\xd8\xff"
    jpeg = whole()["jpeg"]
    frame = jpeg.index(b"\xff\xc2")
    for height, width in ((65_500, 65_500), (0, 0), (65_535, 1)):
        yield jpeg[: frame + 5] + struct.pack(">HH", height, width) + jpeg[frame + 9 :]
    scan = jpeg.rindex(b"\xff\xda")
    tall = jpeg[: frame + 5] + struct.pack(">HH", 4000, 4000) + jpeg[frame + 9 :]
    yield tall[:-2] + tall[scan:-2] * 5000
    yield b"\xff\xd8\xff\xe1\xff\xff" + b"Exif\0\0" * 4000
    webp = whole()["webp"]
    yield webp[:4] + struct.pack("<I", 2**32 - 10) + webp[8:]
    yield b"RIFF" + struct.pack("<I", 40) + b"WEBPVP8X" + struct.pack("<I", 10) + b"\x02" + b"\xff" * 9 + bytes(20)
    yield b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8L" + struct.pack("<I", 9) + b"\x2f" + b"\xff" * 8
    yield b"RIFF1234WAVEfmt "
    yield animated("PNG")
    yield animated("WEBP")
    yield SIGNATURE + bytes(33 * 2**20)


def files(number: int = 300) -> Iterator[bytes]:
    """The hostile ones first; then good files that were cut short, or overwritten, or both, until there are enough."""
    made = [*foreign(), *claims()]
    yield from made
    chance, good = random.Random(5), list(whole().values())
    for index in range(number - len(made)):
        data = bytearray(good[index % len(good)][: chance.randrange(4, 900)])
        if chance.random() < 0.5:
            at = chance.randrange(len(data))
            data[at : at + 8] = chance.randbytes(8)
        yield bytes(data)


def peak() -> float:
    """MiB that this program has held at most; `ru_maxrss` would count what its parent held when it started it."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if "VmHWM" in line) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    from brushloop.errors import InputError
    from brushloop.pictures import open_picture

    told = []
    for path in sorted(Path(sys.argv[1]).iterdir()):
        began, refused = time.perf_counter(), False
        try:
            open_picture(path)
        except InputError as error:
            refused = "\n" not in str(error) and len(str(error)) < 400
        told.append([path.name, refused, time.perf_counter() - began])
    print(json.dumps({"files": told, "megabytes": peak()}))


if __name__ == "__main__":
    main()
