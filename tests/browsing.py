"""Pages in a headless Chromium: which of them ran a script that they should not have, and what they asked for."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

Pages = Mapping[str, tuple[str, bytes]]
"""Media type and bytes of everything that may be asked for, by path."""

INDEX = """<!doctype html><meta charset=utf-8><title>index</title>%s
<script>onload = () => {
  for (const frame of document.querySelectorAll("iframe"))
    for (const link of frame.contentDocument.querySelectorAll("a, summary, button, input"))
      link.click();
  setTimeout(() => {
    const ran = [...document.querySelectorAll("iframe")]
      .filter((frame) => !frame.contentDocument || frame.contentDocument.documentElement.hasAttribute("ran"));
    const frames = document.querySelectorAll("iframe").length;
    document.body.innerHTML = "";
    document.title = "looked at " + frames + ":" + ran.map((frame) => " " + frame.id).join("");
  }, 3000);
};</script>"""
"""Shows every page, clicks whatever can be clicked, and says which of them left the mark of `payloads`."""


@contextmanager
def site(pages: Pages) -> Iterator[tuple[str, list[str]]]:
    """Serve pages on loopback, and note every other thing that is asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            media, data = pages.get(self.path, ("", b""))
            if not media and self.path != "/favicon.ico":
                asked.append(self.path)
            self.send_response(200 if media else 404)
            self.send_header("Content-Type", media or "text/plain")
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            pass  # a frame that was taken away does not wait for its picture

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def look(url: str, pages: dict[str, tuple[str, bytes]], shown: Sequence[str], folder: Path) -> list[str]:
    """Show these paths of a site, each in a frame and a hundred at a time, and return those where a script ran."""
    ran: list[str] = []
    for start in range(0, len(shown), 100):
        ran += _look(url, pages, shown[start : start + 100], folder)
    return ran


def _look(url: str, pages: dict[str, tuple[str, bytes]], shown: Sequence[str], folder: Path) -> list[str]:
    assert CHROMIUM is not None
    frames = "".join(f"<iframe id='{html.escape(path)}' src='{html.escape(path)}'></iframe>" for path in shown)
    pages["/index"] = "text/html; charset=utf-8", (INDEX % frames).encode()
    done = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}",
            "--virtual-time-budget=20000", "--dump-dom", f"{url}/index",
        ],
        capture_output=True, text=True, timeout=1800,
    )  # fmt: skip
    title = re.search(r"<title>looked at (\d+):(.*)</title>", done.stdout)
    assert title, done.stderr[-2000:]
    assert int(title[1]) == len(shown)
    return html.unescape(title[2]).split()
