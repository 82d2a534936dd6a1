"""Content credentials: another program of ours reads them back, sees every change, and finds no redacted word."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import c2pa
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from fakes import ToyPainter, ToyVLM
from PIL import Image

from brushloop import Studio
from brushloop.cli.main import main
from brushloop.creation import read_recipe

PROMPT = "a cat and a red ball on a beach"
PEM = serialization.Encoding.PEM


def certificate(name: str, key: Any, issuer: str, by: Any, usage: Any = None) -> bytes:
    """A certificate as C2PA wants them: of an authority if there is no usage, else of a signer."""
    now, end = datetime.now(UTC), usage is not None

    def called(name: str) -> x509.Name:
        parts = ((NameOID.COUNTRY_NAME, "NL"), (NameOID.ORGANIZATION_NAME, "A test"), (NameOID.COMMON_NAME, name))
        return x509.Name([x509.NameAttribute(*part) for part in parts])

    built = (
        x509.CertificateBuilder().subject_name(called(name)).issuer_name(called(issuer)).public_key(key.public_key())
    )
    built = built.serial_number(x509.random_serial_number())
    built = built.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=30))
    built = built.add_extension(x509.BasicConstraints(not end, None), True)
    built = built.add_extension(x509.KeyUsage(end, False, False, False, False, not end, not end, False, False), True)
    built = built.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), False)
    built = built.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    if usage:
        built = built.add_extension(x509.ExtendedKeyUsage([usage]), True)
    return built.sign(by, hashes.SHA256()).public_bytes(PEM)


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with chain.pem and key.pem of a signer; servers.pem is of one who may not sign."""
    folder = tmp_path_factory.mktemp("pems")
    root, mine = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    above = certificate("root", root, "root", root)
    for file, usage in (("chain", ExtendedKeyUsageOID.EMAIL_PROTECTION), ("servers", ExtendedKeyUsageOID.SERVER_AUTH)):
        (folder / f"{file}.pem").write_bytes(certificate("signer", mine, "root", root, usage) + above)
    for file, key in (("key", mine), ("other", root)):
        told = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (folder / f"{file}.pem").write_bytes(told)
    return folder


@pytest.fixture
def made(home: Path) -> str:
    return Studio(ToyPainter(), ToyVLM(), home).paint(PROMPT).id


def export(capsys: pytest.CaptureFixture[str], pems: Path, *words: str, chain: str = "chain", key: str = "key") -> Any:
    credentials = ["--c2pa", str(pems / f"{chain}.pem"), "--c2pa-key", str(pems / f"{key}.pem")]
    code = main(["export", *words, *credentials, "--json"])
    return code, json.loads(capsys.readouterr().out)


def read(data: bytes, media: str = "image/png") -> tuple[set[str], dict[str, Any]]:
    """What is wrong with the credentials of a file, and what they claim."""
    with c2pa.Reader(media, io.BytesIO(data)) as reader:
        told = json.loads(reader.json())
    return {fault["code"] for fault in told.get("validation_status", ())}, told["manifests"][told["active_manifest"]]


UNKNOWN = {"signingCredential.untrusted"}
"""An authority of ours is on nobody's list."""


def test_credentials_tell_how_it_was_made(
    capsys: pytest.CaptureFixture[str], pems: Path, made: str, tmp_path: Path
) -> None:
    file = tmp_path / "x.png"
    assert export(capsys, pems, made, str(file))[0] == 0
    faults, claims = read(file.read_bytes())
    assert faults == UNKNOWN and claims["title"] == PROMPT
    (said,) = [each["data"]["actions"] for each in claims["assertions"] if each["label"].startswith("c2pa.actions")]
    assert [action["action"] for action in said] == ["c2pa.created", "c2pa.edited"]
    assert all(action["digitalSourceType"].endswith("/trainedAlgorithmicMedia") for action in said)
    assert {action["softwareAgent"]["name"] for action in said} == {"toy-painter"}
    assert "beach" in said[0]["parameters"]["description"]
    assert read_recipe(file).id == made and Image.open(file).size == (40, 40), "the recipe is there as well"


def test_a_changed_pixel_is_seen(capsys: pytest.CaptureFixture[str], pems: Path, made: str, tmp_path: Path) -> None:
    file = tmp_path / "x.png"
    export(capsys, pems, made, str(file))
    data = bytearray(file.read_bytes())
    data[data.rindex(b"IDAT") + 8] ^= 1
    assert "assertion.dataHash.mismatch" in read(bytes(data))[0]


@pytest.mark.parametrize(("end", "media"), [("gif", "image/gif"), ("webp", "image/webp"), ("mp4", "video/mp4")])
def test_films_carry_them_too(
    capsys: pytest.CaptureFixture[str], pems: Path, made: str, tmp_path: Path, end: str, media: str
) -> None:
    file = tmp_path / f"x.{end}"
    assert export(capsys, pems, made, str(file))[0] == 0
    assert read(file.read_bytes(), media)[0] == UNKNOWN


def test_redacted_credentials_hold_no_words(
    capsys: pytest.CaptureFixture[str], pems: Path, made: str, tmp_path: Path
) -> None:
    file = tmp_path / "x.png"
    assert export(capsys, pems, made, str(file), "--redact")[0] == 0
    data = file.read_bytes()
    assert read(data)[0] == UNKNOWN
    for word in (b"beach", b"cat", b"toy-painter", made.encode(), str(tmp_path).encode()):
        assert word not in data, word


@pytest.mark.parametrize(
    ("file", "chain", "key", "said"),
    [
        ("x.pdf", "chain", "key", "go into .png, .gif, .webp and .mp4"),
        ("x.png", "chain", "other", "is not that of the first certificate"),
        ("x.png", "key", "key", "holds no certificates"),
        ("x.png", "chain", "chain", "holds no private key"),
        ("x.png", "nowhere", "key", "cannot read"),
        ("x.png", "servers", "key", "cannot sign content credentials"),
    ],
)
def test_what_cannot_be_signed_is_not_written(
    capsys: pytest.CaptureFixture[str],
    pems: Path,
    made: str,
    tmp_path: Path,
    file: str,
    chain: str,
    key: str,
    said: str,
) -> None:
    code, told = export(capsys, pems, made, str(tmp_path / file), chain=chain, key=key)
    assert code == 2 and said in told["error"]["message"] and not (tmp_path / file).exists()
    assert main(["export", made, str(tmp_path / "x.png"), "--c2pa", str(pems / "chain.pem"), "--json"]) == 2
