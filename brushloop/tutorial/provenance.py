"""Content credentials (C2PA): who made a file and how, signed and inside the file itself.

Whom a signature convinces depends on the certificate: viewers trust the authorities on their list. We bring none; who
has a certificate with its key signs with it, through the library of the Content Authenticity Initiative. The steps
are those of the guide, so what was redacted from it is not in the credentials either.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import brushloop
from brushloop.errors import BackendError, InputError
from brushloop.tutorial.guide import Guide

SIGNED = ("image/png", "image/gif", "image/webp", "video/mp4")
"""Media types of ours that credentials go into."""

SOURCES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
"""Where the kinds of sources are defined: IPTC's vocabulary, which C2PA uses."""


@dataclass(frozen=True)
class Credentials:
    """A chain of certificates, the signer's own first, and the signer's key, both in PEM."""

    chain: bytes
    key: bytes = field(repr=False)
    algorithm: str


def credentials(chain: Path, key: Path) -> Credentials:
    """Read a chain of certificates and its key.

    Raises:
        BackendError: the library is not installed.
        InputError: a file cannot be read, is no such thing, or the key is of another certificate.
    """
    if find_spec("c2pa") is None:
        raise BackendError("content credentials need the package c2pa-python: pip install 'brushloop[c2pa]'")
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    told = _bytes(chain), _bytes(key)
    try:
        first = x509.load_pem_x509_certificates(told[0])[0]
    except ValueError as error:
        raise InputError(f"{chain} holds no certificates in PEM: give the signer's own, then those above it") from error
    try:
        secret = serialization.load_pem_private_key(told[1], None)
    except (ValueError, TypeError) as error:
        raise InputError(f"{key} holds no private key in PEM without a password") from error
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    if secret.public_key().public_bytes(*form) != first.public_key().public_bytes(*form):
        raise InputError(f"the key in {key} is not that of the first certificate in {chain}")
    return Credentials(*told, _algorithm(secret, key))


def manifest(guide: Guide, given: bool = False) -> dict[str, Any]:
    """What the credentials claim: each state of the picture that stood, as an action of C2PA.

    Args:
        guide: how it was made; redacted or not.
        given: whether it began with a picture that somebody gave.
    """
    people = given or any(step.act == "human" for step in guide.steps)
    kind = SOURCES + ("compositeWithTrainedAlgorithmicMedia" if people else "trainedAlgorithmicMedia")
    actions: list[dict[str, Any]] = []
    for step in guide.steps:
        action: dict[str, Any] = {"action": "c2pa.edited" if actions else "c2pa.created", "digitalSourceType": kind}
        if step.tools:
            action["softwareAgent"] = {"name": step.tools[0]}
        if step.text:
            action["parameters"] = {"description": step.text}
        actions.append(action)
    return {
        "claim_generator_info": [{"name": "brushloop", "version": brushloop.__version__}],
        "title": guide.title,
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": actions}}],
    }


def signed(data: bytes, media: str, claims: dict[str, Any], by: Credentials) -> bytes:
    """The same file with signed credentials inside. No time stamp is asked of anybody: that would need a network.

    Raises:
        InputError: credentials cannot go into such a file, or nobody may sign with such a certificate.
    """
    import c2pa

    check_signable(media)
    target = io.BytesIO()
    try:
        signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(by.algorithm.encode(), by.chain, by.key, None))
        c2pa.Builder(json.dumps(claims)).sign(signer, media, io.BytesIO(data), target)
    except c2pa.C2paError as error:
        said = " ".join(str(error).split())[:200]
        raise InputError(
            f"the certificate cannot sign content credentials ({said}): see the profile of C2PA"
        ) from error
    return target.getvalue()


def check_signable(media: str) -> None:
    """Raise `InputError` if credentials do not go into files of that media type."""
    if media not in SIGNED:
        raise InputError("content credentials go into .png, .gif, .webp and .mp4 only: choose one of these")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error


def _algorithm(secret: object, path: Path) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    match secret:
        case ed25519.Ed25519PrivateKey():
            return "ed25519"
        case rsa.RSAPrivateKey():
            return "ps256"
        case ec.EllipticCurvePrivateKey() if secret.curve.key_size in (256, 384, 521):
            return {256: "es256", 384: "es384", 521: "es512"}[secret.curve.key_size]
    raise InputError(f"the key in {path} is of a kind that C2PA does not know: take ECDSA, RSA or Ed25519")
