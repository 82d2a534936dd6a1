"""With a key, whatever is changed, reordered, cut off or put in its place is noticed."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import ToyPainter, ToyVLM

from brushloop import Creation, Store, Studio
from brushloop import seal as sealing
from brushloop.errors import CorruptObjectError, InputError

KEY, OTHER = "17" * 32, "2a" * 32
PROMPT = "a cat and a red ball on a beach"


def toy() -> Studio:
    return Studio(ToyPainter(fails=lambda request: request.seed % 2 == 0), ToyVLM())


@pytest.fixture
def signed(home: Path, monkeypatch: pytest.MonkeyPatch) -> Creation:
    monkeypatch.setenv(sealing.VARIABLE, KEY)
    return toy().paint(PROMPT, seed=5, id="one")


def kinds(store: Store) -> list[str]:
    return [problem.kind for problem in store.verify("one")]


def content(home: Path) -> list[Path]:
    """Every file that is content; measurements and LangGraph's memory are not."""
    return sorted(path for part in ("objects", "heads") for path in (home / part).rglob("*") if path.is_file())


def edits(home: Path, number: int) -> list[Callable[[], None]]:
    """So many ways to change a record: single bytes, lines in another order, tails cut off."""
    chance, files = random.Random(11), content(home)
    heads = home / "heads" / "one.jsonl"
    lines = heads.read_bytes().splitlines(keepends=True)
    ways: list[Callable[[], None]] = []

    def byte(path: Path, at: int, bits: int) -> Callable[[], None]:
        def change() -> None:
            data = bytearray(path.read_bytes())
            data[at] ^= bits
            path.write_bytes(data)

        return change

    def write(path: Path, data: bytes) -> Callable[[], None]:
        return lambda: void(path.write_bytes(data))

    for left in range(len(lines)):  # tails, and any two lines in the other order
        ways.append(write(heads, b"".join(lines[:left])))
        for right in range(left + 1, len(lines)):
            other = list(lines)
            other[left], other[right] = other[right], other[left]
            ways.append(write(heads, b"".join(other)))
    for path in files:  # tails of every other file
        data = path.read_bytes()
        ways += [write(path, data[: chance.randrange(len(data))]) for _ in range(4)]
    while len(ways) < number:
        path = chance.choice([heads, heads.with_suffix(".seal"), chance.choice(files)])
        ways.append(byte(path, chance.randrange(path.stat().st_size), 1 << chance.randrange(8)))
    chance.shuffle(ways)
    return ways[:number]


def void(_: object) -> None:
    return None


@pytest.mark.parametrize("number", [150, pytest.param(1000, marks=pytest.mark.trust)])
def test_every_change_is_noticed(number: int, signed: Creation, home: Path, tmp_path: Path) -> None:
    assert signed.store.verify("one") == []
    whole = {path: path.read_bytes() for path in content(home)}
    missed = 0
    for change in edits(home, number):
        change()
        missed += not signed.store.verify("one")
        for path, data in whole.items():
            if path.read_bytes() != data:
                path.write_bytes(data)
    assert missed == 0, f"{missed} of {number}"
    assert signed.store.verify("one") == []


def test_a_head_moved_back_by_hand(signed: Creation, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(sealing.VARIABLE)
    signed.store.set_head("one", signed.hashes[2])
    assert kinds(signed.store) == [], "without a key it is a record like any other"
    monkeypatch.setenv(sealing.VARIABLE, KEY)
    assert kinds(signed.store) == ["signature"]
    monkeypatch.setenv(sealing.VARIABLE, OTHER)
    assert kinds(signed.store) == ["signature"]


def test_another_key_is_not_this_one(signed: Creation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(sealing.VARIABLE, OTHER)
    assert kinds(signed.store) == ["signature"]
    with pytest.raises(CorruptObjectError, match="not made with this key"):
        signed.store.set_head("one", signed.head)


def test_it_does_not_go_on_from_a_changed_head(signed: Creation, home: Path) -> None:
    heads = home / "heads" / "one.jsonl"
    lines = heads.read_bytes().splitlines(keepends=True)
    heads.write_bytes(b"".join(lines[:-3]))
    with pytest.raises(CorruptObjectError, match="cut short since it was sealed"):
        toy().resume("one")
    heads.write_bytes(b"".join(lines))
    heads.with_suffix(".seal").unlink()
    assert kinds(signed.store) == ["signature"]


def test_killed_between_a_move_and_its_seal(signed: Creation, home: Path) -> None:
    seal = home / "heads" / "one.seal"
    before = seal.read_bytes()
    signed.store.set_head("one", signed.hashes[-2])
    seal.write_bytes(before)
    assert kinds(signed.store) == [], "the line itself is signed"
    signed.store.set_head("one", signed.head)
    assert kinds(signed.store) == [] and seal.read_bytes() != before


def test_a_creation_of_another_name(signed: Creation, home: Path) -> None:
    for kind in (".jsonl", ".seal"):
        shutil.copy(home / "heads" / f"one{kind}", home / "heads" / f"two{kind}")
    assert [problem.kind for problem in signed.store.verify("two")] == ["corrupt_object"]


def test_keys_of_all_kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cryptography.hazmat.primitives import serialization as to
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    def pem(key: Ed25519PrivateKey | X25519PrivateKey) -> bytes:
        return key.private_bytes(to.Encoding.PEM, to.PrivateFormat.PKCS8, to.NoEncryption())

    private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(KEY))
    public = private.public_key().public_bytes(to.Encoding.PEM, to.PublicFormat.SubjectPublicKeyInfo)
    files = {"private": pem(private), "public": public, "other": pem(X25519PrivateKey.generate()), "none": b"hello"}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    monkeypatch.setenv(sealing.VARIABLE, str(tmp_path / "private"))
    made = toy().paint(PROMPT, id="one")
    monkeypatch.setenv(sealing.VARIABLE, KEY)
    assert made.store.verify("one") == []
    monkeypatch.setenv(sealing.VARIABLE, str(tmp_path / "public"))
    assert made.store.verify("one") == [], "who only checks needs no secret"
    for name, said in {
        "public": "cannot sign",
        "other": "another kind",
        "none": "no PEM key",
        "gone": "no file",
    }.items():
        monkeypatch.setenv(sealing.VARIABLE, str(tmp_path / name))
        with pytest.raises(InputError, match=said) as error:
            made.store.set_head("one", made.head)
        assert "\n" not in str(error.value) and KEY not in str(error.value)


def test_the_key_is_nowhere_in_the_store(signed: Creation, home: Path) -> None:
    for folder, _, names in os.walk(home):
        for name in names:
            assert KEY.encode() not in Path(folder, name).read_bytes()
