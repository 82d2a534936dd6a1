"""What the network can do: nothing is fetched from where it should not be, and nobody is let in without a key."""

from __future__ import annotations

import io
import itertools
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from serving import toy_studio
from starlette.testclient import TestClient

from brushloop import fetch
from brushloop.errors import InputError
from brushloop.pictures import open_picture
from brushloop.serve import pictures as served
from brushloop.serve.app import create_app
from brushloop.serve.guard import Rules, rules_for

PUBLIC = "93.184.216.34"


def png(side: int = 8) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), (200, 10, 10)).save(buffer, "PNG")
    return buffer.getvalue()


# Pictures by URL

INSIDE = [
    # this machine, in all the ways an address can be written
    "127.0.0.1", "127.1", "127.0.1", "127.255.255.254", "2130706433", "017700000001", "0x7f000001", "0x7f.1",
    "0177.0.0.1", "127.0.0.1.", "localhost", "0.0.0.0", "0", "[::1]", "[::]", "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "１２７.０.０.１", "127。0。0。1",
    # its network
    "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.255.255", "100.64.0.1",
    "100.127.255.255", "198.18.0.1", "192.0.0.8", "[fc00::1]", "[fd12:3456::1]", "[::ffff:10.0.0.1]", "[fec0::1]",
    # its link, and the metadata of clouds
    "169.254.0.1", "169.254.169.254", "2852039166", "0xa9fea9fe", "[fe80::1]", "[fe80::1%25lo]",
    "[::ffff:169.254.169.254]", "[fd00:ec2::254]",
    # ways from one kind of address to the other
    "[64:ff9b::7f00:1]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::a00:1]", "[2002:7f00:1::]", "[2002:a9fe:a9fe::1]",
    "[2001:0:7f00:1::]",
    # groups, and what nobody has
    "224.0.0.1", "239.255.255.250", "255.255.255.255", "240.0.0.1", "[ff02::1]",
    "192.0.2.1", "192.88.99.1", "[2001:db8::1]",
]  # fmt: skip
STRANGE = ["", "user:pass@93.184.216.34", "127.0.0.1#@93.184.216.34", "93.184.216.34:99999", "[::1", "a" * 300, "\0"]


class Site:
    """A server on loopback, reached under a public address that only this test knows of."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: dict[str, list[list[str]]] = {}
        self.connected: list[str] = []
        self.asked: list[str] = []
        self.answer: Callable[[BaseHTTPRequestHandler], None] = lambda handler: self.picture(handler)
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append(self.path)
                site.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self._thread.start()
        real_look, real_connect = socket.getaddrinfo, socket.create_connection

        def look(host: str, port: int, *args: Any, **options: Any) -> list[Any]:
            if host in self.names:  # only these: a test asks no real name server
                known = self.names[host]
                found = known.pop(0) if len(known) > 1 else known[0]
                return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]
            return list(real_look(host, port, *args, flags=socket.AI_NUMERICHOST if host != "localhost" else 0))

        def connect(address: tuple[str, int], *args: Any, **options: Any) -> socket.socket:
            self.connected.append(address[0])
            assert address[0] == PUBLIC, f"connected to {address}"
            return real_connect(("127.0.0.1", self.server.server_port), *args, **options)

        monkeypatch.setattr(fetch.socket, "getaddrinfo", look)
        monkeypatch.setattr(fetch.socket, "create_connection", connect)

    def picture(self, handler: BaseHTTPRequestHandler) -> None:
        self.send(handler, 200, png())

    @staticmethod
    def send(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    def close(self) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv(fetch.VARIABLE, "1")
    made = Site(monkeypatch)
    yield made
    made.close()


def refused(url: str) -> str:
    with pytest.raises(InputError) as error:
        open_picture(url)
    assert "\n" not in str(error.value) and len(str(error.value)) < 300
    return str(error.value)


def test_urls_are_off_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("something was looked up")

    monkeypatch.delenv(fetch.VARIABLE, raising=False)
    monkeypatch.setattr(fetch.socket, "getaddrinfo", never)
    for url in ("http://example.org/a.png", "HTTPS://example.org/a.png"):
        for read in (open_picture, lambda text: open_picture(Path(text)), lambda text: served.decode(text, "it")):
            with pytest.raises(InputError, match="BRUSHLOOP_URLS=1"):
                read(url)


def test_a_public_picture_is_read(site: Site) -> None:
    site.names["pictures.example"] = [[PUBLIC]]
    for url in ("http://pictures.example/a.png", "HTTP://pictures.example:80/a.png?x=1", f"http://{PUBLIC}"):
        assert open_picture(url).size == served.decode(url, "it").size == (8, 8)
    assert open_picture(Path("http://pictures.example/a.png")).size == (8, 8), "a path makes one slash of two"
    assert site.asked[0] == "/a.png" and site.asked[2] == "/a.png?x=1" and set(site.connected) == {PUBLIC}


def test_sixty_urls_that_lead_inside_are_refused(site: Site) -> None:
    """Written out, by name, by a name with several addresses, by a name that changes, and by redirects."""
    cases = 0
    for host in [*INSIDE, *STRANGE]:
        for scheme in ("http", "https"):
            refused(f"{scheme}://{host}/a.png")
        cases += 1
    inside = [host.strip("[]") for host in INSIDE if re.fullmatch(r"[\d.]{7,15}|\[[\da-f:]+\]", host)]
    for number, address in enumerate(inside):
        site.names = {
            f"a{number}.example": [[address]],
            f"b{number}.example": [[PUBLIC, address]],
            f"c{number}.example": [[address, PUBLIC]],
        }
        for name in site.names:
            assert "public network" in refused(f"http://{name}/a.png")
            cases += 1
    assert site.connected == [] and site.asked == [] and cases >= 60


def test_a_name_that_means_something_else_a_moment_later_changes_nothing(site: Site) -> None:
    site.names["rebinding.example"] = [[PUBLIC], ["127.0.0.1"]]
    assert open_picture("http://rebinding.example/a.png").size == (8, 8)
    assert site.connected == [PUBLIC], "looked up once, and connected to what was seen"
    assert "public network" in refused("http://rebinding.example/a.png")


@pytest.mark.parametrize("status", [201, 204, 206, 300, 301, 302, 303, 304, 307, 308, 401, 404, 500])
def test_redirects_and_whatever_is_no_picture_are_refused(status: int, site: Site) -> None:
    for target in ("http://127.0.0.1/a.png", "http://pictures.example/b.png", "file:///etc/passwd", "//10.0.0.1"):
        site.answer = lambda handler, target=target: site.send(handler, status, Location=target)  # type: ignore[misc]
        site.asked.clear()
        assert f"answers {status}" in refused(f"http://{PUBLIC}/a.png")
        assert site.asked == ["/a.png"], "nothing else is asked for"


def test_what_comes_back_has_limits(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brushloop.pictures.MAX_BYTES", 1000)
    site.answer = lambda handler: site.send(handler, 200, png() + bytes(10**6))
    assert "1001 bytes long" in refused(f"http://{PUBLIC}/large.png")
    site.answer = lambda handler: site.send(handler, 200, b"<html>")
    assert "not a whole" in refused(f"http://{PUBLIC}/page")

    def slowly(handler: BaseHTTPRequestHandler) -> None:
        try:
            for letter in itertools.repeat(b"x", 400):
                handler.wfile.write(letter)
                time.sleep(0.05)
        except OSError:
            pass

    monkeypatch.setattr(fetch, "SECONDS", 0.5)
    site.answer = slowly
    began = time.monotonic()
    assert "cannot be fetched" in refused(f"http://{PUBLIC}/drop-by-drop.png")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://example.org/a.png", "gopher://example.org", "dict://x"])
def test_other_schemes_are_no_urls(url: str, site: Site) -> None:
    assert "no picture at" in refused(url) or "no file" in refused(url)


def test_a_certificate_must_be_known_and_the_names(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(tmp_path / "pair.pem", "pictures.example"))
    site.server.socket = context.wrap_socket(site.server.socket, server_side=True)
    site.names = {name: [[PUBLIC]] for name in ("pictures.example", "other.example")}
    assert "CERTIFICATE_VERIFY_FAILED" in refused("https://pictures.example/a.png")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "pair.pem"))
    assert open_picture("https://pictures.example/a.png").size == (8, 8)
    assert "cannot be fetched" in refused("https://other.example/a.png")


def certificate(path: Path, name: str) -> Path:
    """A key and a certificate of its own making, in one file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    path.write_bytes(pem + made.public_bytes(serialization.Encoding.PEM))
    return path


# The server

KEYS = {"": "k" * 20, "ann": "a" * 20, "bob": "b" * 20}
PROMPT = "a cat and a red ball on a beach"
BODIES = {"/v1/creations/{id}/chat": {"said": "the cat, but blue"}}
"""What a route needs before it looks at anything else."""


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture
def client(home: Path) -> Iterator[TestClient]:
    with TestClient(create_app(toy_studio(home), Rules(keys=KEYS)), base_url="http://localhost") as made:
        yield made


def routes(client: TestClient) -> list[tuple[str, str]]:
    described = client.get("/openapi.json").json()["paths"]
    return [(method.upper(), path) for path, methods in described.items() for method in methods]


def test_every_route_without_a_key_with_a_bad_one_and_with_anothers(client: TestClient) -> None:
    """Whatever the application describes, now and later: a new route is in here by itself."""
    made = client.post("/v1/creations", json={"prompt": PROMPT}, headers=bearer(KEYS["ann"])).json()["id"]
    until = time.monotonic() + 20
    while (view := client.get(f"/v1/creations/{made}", headers=bearer(KEYS["ann"])).json())["state"] != "finished":
        assert time.monotonic() < until, view
        time.sleep(0.02)
    hash = view["picture"]["hash"]
    open_to_all = {("GET", "/v1/health"), ("POST", "/v1/session")}
    known = routes(client)
    assert len(known) >= 18
    owned = 0
    for method, path in known:
        url = path.replace("{id}", made).replace("{hash}", hash)
        assert "{" not in url, f"{path}: say what stands there"
        for headers in ({}, bearer("wrong" * 5), bearer(""), {"Cookie": "brushloop_key=wrong"}, {"Authorization": "x"}):
            answer = client.request(method, url, headers=headers, json={} if method == "POST" else None)
            if (method, path) in open_to_all:
                assert answer.status_code in (200, 204, 422)
            else:
                assert answer.status_code == 401, (method, path, headers)
                assert answer.json()["error"]["code"] == "key" and made not in answer.text
        if "{id}" in path:
            owned += 1
            body = BODIES.get(path, {}) if method == "POST" else None
            answer = client.request(method, url, headers=bearer(KEYS["bob"]), json=body)
            assert answer.status_code == 404 and PROMPT not in answer.text, (method, path)
            same = client.request(method, url.replace(made, "nobody"), headers=bearer(KEYS["bob"]), json=body)
            assert same.text.replace("nobody", made) == answer.text, "another's looks like none at all"
    assert owned >= 12
    assert client.get("/v1/creations", headers=bearer(KEYS["bob"])).json()["data"] == []
    after = client.get(f"/v1/creations/{made}", headers=bearer(KEYS["ann"])).json()
    assert after["state"] == "finished", "and nothing that was refused did anything"


def test_each_key_has_a_rate_of_its_own(home: Path) -> None:
    rules = Rules(keys=KEYS, rate="5/minute")
    with TestClient(create_app(toy_studio(home), rules), base_url="http://localhost") as client:
        told = [client.get("/v1/creations", headers=bearer(KEYS["ann"])) for _ in range(7)]
        assert [answer.status_code for answer in told] == [200] * 5 + [429] * 2
        assert told[-1].json()["error"]["code"] == "rate" and 1 <= int(told[-1].headers["Retry-After"]) <= 60
        assert client.get("/v1/creations", headers=bearer(KEYS["bob"])).status_code == 200, "bob's is his own"
        guesses = [client.get("/v1/creations", headers=bearer(f"{n:020}")).status_code for n in range(7)]
        assert guesses == [401] * 5 + [429] * 2, "keys cannot be guessed faster than that either"
        assert client.get("/v1/health").status_code == 429, "what is open counts by address"
        assert client.get("/v1/creations", headers=bearer(KEYS["bob"])).status_code == 200


def test_a_rate_there_is_where_there_are_keys() -> None:
    assert rules_for("127.0.0.1", (), (), (), 1000).rate == ""
    assert rules_for("0.0.0.0", ["k" * 20], (), (), 1000).rate == "600/minute"
    assert rules_for("0.0.0.0", ["k" * 20], (), (), 1000, "9/second").rate == "9/second"
    assert rules_for("0.0.0.0", ["k" * 20], (), (), 1000, "").rate == ""
    with pytest.raises(InputError, match="no rate"):
        rules_for("127.0.0.1", (), (), (), 1000, "often")
