"""Signatures of heads: with a key, nobody without it can change, reorder or cut short a creation unnoticed.

`BRUSHLOOP_SIGNING_KEY` names a PEM file with an Ed25519 key (`openssl genpkey -algorithm ed25519 -out key.pem`),
or is the 64 hex digits of the bare private key. A public key checks and does not sign. Needs the extra `sign`.
"""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from brushloop.errors import InputError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

VARIABLE = "BRUSHLOOP_SIGNING_KEY"
SIGNATURE = r"^[0-9a-f]{128}$"


class Key:
    """An Ed25519 key (RFC 8032): private to sign, public to check."""

    def __init__(self, public: Ed25519PublicKey, private: Ed25519PrivateKey | None) -> None:
        self._public, self._private = public, private

    def sign(self, data: bytes) -> str:
        """The signature in 128 hex digits.

        Raises:
            InputError: the key is a public one.
        """
        if self._private is None:
            raise InputError(
                f"{VARIABLE} names a public key, which cannot sign: unset it to paint, or name the private"
            )
        return self._private.sign(data).hex()

    def signed(self, signature: str | None, data: bytes) -> bool:
        """Whether it is this key's signature of the data."""
        from cryptography.exceptions import InvalidSignature

        if signature is None or not re.fullmatch(SIGNATURE, signature):
            return False
        try:
            self._public.verify(bytes.fromhex(signature), data)
        except InvalidSignature:
            return False
        return True


def key() -> Key | None:
    """The key that the environment names; None if it names none.

    Raises:
        InputError: it is no key, cannot be read, or the package for it is not installed.
    """
    named = os.environ.get(VARIABLE)
    return _load(named) if named else None


@cache
def _load(named: str) -> Key:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
    except ImportError:
        raise InputError(f"{VARIABLE} is set, but signing is not installed: pip install 'brushloop[sign]'") from None
    if re.fullmatch(r"[0-9a-fA-F]{64}", named):
        private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(named))
        return Key(private.public_key(), private)
    try:
        pem = Path(named).expanduser().read_bytes()
    except OSError as error:
        raise InputError(f"{VARIABLE} names no file that can be read ({error.strerror}): name a PEM file") from None
    try:
        if b"PUBLIC" in pem:
            found: object = serialization.load_pem_public_key(pem)
        else:
            found = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise InputError(f"{VARIABLE} names a file that holds no PEM key without a password") from error
    if isinstance(found, Ed25519PrivateKey):
        return Key(found.public_key(), found)
    if isinstance(found, Ed25519PublicKey):
        return Key(found, None)
    raise InputError(f"{VARIABLE} names a key of another kind: openssl genpkey -algorithm ed25519 makes the right one")
