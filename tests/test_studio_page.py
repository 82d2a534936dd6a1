"""The studio page as it is served: complete, within its budget, up to date, and under a strict policy.

What it does in a browser is in test_studio_browser.py (make test-page). With it come the exports it offers.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from conftest import ROOT
from fastapi.testclient import TestClient
from serving import toy_studio

from brushloop.serve.app import create_app
from brushloop.serve.export import Form, forms
from brushloop.serve.front import FILES, FOLDER
from brushloop.serve.guard import Rules
from brushloop.tutorial.exporters import NAMES

PROMPT = "a cat and a red ball on a beach"
MAGIC = {
    "png": b"\x89PNG", "html": b"<!DOCTYPE html>", "page": b"<!doctype html>", "json": b"{", "pdf": b"%PDF",
    "gif": b"GIF8", "webp": b"RIFF", "howto": b"{", "ifixit": b"{", "notebook": b"{",
}  # fmt: skip


@pytest.fixture
def client(home: Path) -> Iterator[TestClient]:
    with TestClient(create_app(toy_studio(home)), base_url="http://localhost") as client:
        yield client


def test_everything_the_page_names_is_served_and_nothing_is_inline(client: TestClient) -> None:
    page = client.get("/")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    named = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert {"/studio.js", "/studio.css"} <= set(named) <= set(FILES)
    assert not re.search(r"<script>|<style|\son\w+=|style=", page.text)
    for path in FILES:
        answer = client.get(path)
        policy = answer.headers["content-security-policy"]
        assert answer.status_code == 200 and "default-src 'none'" in policy and "unsafe" not in policy
        assert client.get(path, headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
    assert set(FILES) <= {path for path in FILES if client.head(path).status_code == 200}


def test_the_page_is_open_and_what_it_shows_is_not(home: Path) -> None:
    with TestClient(create_app(toy_studio(home), Rules(keys={"": "k" * 20})), base_url="http://localhost") as client:
        assert [client.get(path).status_code for path in FILES] == [200] * len(FILES)
        assert client.get("/v1/about").status_code == 401
        assert client.get("/", headers={"Host": "elsewhere.example"}).status_code == 421


def test_the_page_is_small_and_asks_nobody_else() -> None:
    script = (FOLDER / "studio.js").read_bytes()
    assert len(gzip.compress(script, 9)) <= 300_000
    addresses = set(re.findall(rb"https?://[\w.-]+", script + (FOLDER / "studio.css").read_bytes()))
    assert addresses <= {b"http://www.w3.org"}, "names of namespaces, and no other address"


@pytest.mark.skipif(not (ROOT / "studio").is_dir(), reason="the sources are not here")
def test_the_page_is_built_from_its_sources() -> None:
    studio, digest = ROOT / "studio", hashlib.sha256()
    files = ["index.html", "package-lock.json", "vite.config.ts"]
    files += [path.relative_to(studio).as_posix() for part in ("src", "public") for path in (studio / part).iterdir()]
    for name in sorted(files):
        digest.update(name.encode() + b"\0" + (studio / name).read_bytes())
    assert (FOLDER / "sources.sha256").read_text().strip() == digest.hexdigest(), "out of date: make page"


def test_everything_that_export_knows_can_be_fetched(client: TestClient) -> None:
    assert set(get_args(Form)) == {*NAMES, "page", "json"}
    offered = client.get("/v1/about").json()["exports"]
    assert {form["name"] for form in offered} == set(get_args(Form)), "all packages are installed for tests"
    id = client.post("/v1/creations", json={"prompt": PROMPT}).json()["id"]
    client.get(f"/v1/creations/{id}/events")
    for form in forms():
        answer = client.get(f"/v1/creations/{id}/export", params={"format": form.name})
        assert answer.status_code == 200 and answer.headers["content-type"].startswith(form.media), answer.text[:200]
        assert f'filename="{id}{form.suffix}"' in answer.headers["content-disposition"]
        assert MAGIC.get(form.name, b"") in answer.content[:200], form.name
        if form.media in ("application/zip", "application/epub+zip", "image/openraster"):
            assert zipfile.ZipFile(io.BytesIO(answer.content)).testzip() is None


def test_redacted_exports_hold_no_words(client: TestClient) -> None:
    id = client.post("/v1/creations", json={"prompt": PROMPT}).json()["id"]
    client.get(f"/v1/creations/{id}/events")
    for form in ("png", "html", "markdown", "howto"):
        asked = {"format": form, "redact": "true"}
        answer = client.get(f"/v1/creations/{id}/export", params=asked)
        data = answer.content
        if form == "markdown":
            archive = zipfile.ZipFile(io.BytesIO(data))
            data = b"".join(archive.read(name) for name in archive.namelist()) + "".join(archive.namelist()).encode()
        assert answer.status_code == 200 and b"beach" not in data and id.encode() not in data
        assert id not in answer.headers["content-disposition"]
    for form in ("page", "json"):
        refused = client.get(f"/v1/creations/{id}/export", params={"format": form, "redact": "true"})
        assert refused.status_code == 400 and "leave redact out" in refused.json()["error"]["message"]


def test_a_view_says_from_where_to_hear(client: TestClient) -> None:
    id = client.post("/v1/creations", json={"prompt": PROMPT}).json()["id"]
    told = client.get(f"/v1/creations/{id}/events").text.count("event: ")
    assert client.get(f"/v1/creations/{id}").json()["events"] == told
    assert client.get(f"/v1/creations/{id}/events", params={"after": told}).status_code == 204
