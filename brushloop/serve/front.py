"""The studio page: files built from `studio/` (make page), served as they are under a strict content policy.

Nothing of anybody's is in them: what the page shows it asks of the API, with the key of whoever looks at it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from fastapi import APIRouter, Request, Response

FOLDER = Path(__file__).parent / "page"
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/studio.js": ("studio.js", "text/javascript; charset=utf-8"),
    "/studio.css": ("studio.css", "text/css; charset=utf-8"),
    "/favicon.svg": ("favicon.svg", "image/svg+xml"),
}
"""What is served where: the file, and its media type."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
"""Scripts and styles from here alone, nothing inline, no other page around it, and no text ever becomes HTML."""

router = APIRouter(include_in_schema=False)


def _served(path: str) -> None:
    name, media = FILES[path]
    data = (FOLDER / name).read_bytes()
    tag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'

    @router.api_route(path, methods=["GET", "HEAD"])
    def file(request: Request) -> Response:
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={**HEADERS, "ETag": tag})
        return Response(data, media_type=media, headers={**HEADERS, "ETag": tag})


for _path in FILES:
    _served(_path)
