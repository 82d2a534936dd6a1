"""The store keeps what it is given, says what was changed, and stays inside its folder."""

from __future__ import annotations

import builtins
import errno
import hashlib
import os
import re
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from brushloop import files
from brushloop.canvas import SCHEMA_VERSION, Brief, Budget, ConditionUnit, Frame, Step, StepKind, UnitImage
from brushloop.errors import (
    CorruptObjectError,
    InputError,
    MissingObjectError,
    StoreError,
    UnknownCreationError,
    UnwritableError,
    VersionError,
)
from brushloop.record import read_step, step_json
from brushloop.store import Store


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(tmp_path / "home" if request.param == "local" else f"memory://{uuid.uuid4().hex}/home")


@pytest.fixture
def local(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


def picture(shade: int = 0, mode: str = "RGB") -> Image.Image:
    return Image.linear_gradient("L").resize((24, 16)).point(lambda v: (v + shade) % 256).convert(mode)


def brief(prompt: str = "a red cat", **fields: Any) -> Step:
    return Step(kind=StepKind.BRIEF, text=prompt, brief=Brief(prompt=prompt, **fields))


def paint(store: Store, drafts: int = 2) -> tuple[str, list[str]]:
    """A creation of a brief and some drafts: its id, and its hashes, oldest first."""
    hashes = [store.put_step(brief())]
    id = store.create(hashes[0])
    for shade in range(drafts):
        frame = store.put_image(picture(shade))
        hashes.append(store.put_step(Step(kind=StepKind.DRAFT, parent=hashes[-1], outputs=(frame,), seed=shade)))
        store.set_head(id, hashes[-1])
    return id, hashes


def snapshot(root: str) -> dict[str, tuple[bytes, int]]:
    return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in Path(root).rglob("*") if p.is_file()}


def flip(path: str, at: int = -20) -> None:
    data = bytearray(Path(path).read_bytes())
    data[at] ^= 1
    Path(path).write_bytes(data)


# Pictures


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_picture_comes_back_as_it_was(store: Store, mode: str) -> None:
    image = picture(mode=mode)
    frame = store.put_image(image)
    back = store.get_image(frame)
    assert (frame.width, frame.height) == (24, 16)
    assert (back.mode, back.tobytes()) == (mode, image.tobytes())
    assert store.get_image(frame.hash).tobytes() == image.tobytes()


def test_palette_with_transparency_keeps_it(local: Store) -> None:
    image = Image.new("P", (2, 1), 0)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((1, 0), 1)
    image.info["transparency"] = 1
    back = local.get_image(local.put_image(image))
    assert [back.getpixel((0, 0)), back.getpixel((1, 0))] == [(255, 0, 0, 255), (0, 255, 0, 0)]


def test_photograph_is_kept_upright(local: Store, tmp_path: Path) -> None:
    image = picture()
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "photo.png", exif=exif)
    frame = local.put_image(Image.open(tmp_path / "photo.png"))
    assert (frame.width, frame.height) == (16, 24)


def test_equal_pixels_have_one_hash_and_the_callers_picture_is_left_alone(store: Store) -> None:
    tagged = picture()
    tagged.info |= {"icc_profile": b"profile", "dpi": (300, 300), "comment": "hello"}
    assert store.put_image(tagged) == store.put_image(picture())
    assert tagged.info["comment"] == "hello"
    assert store.put_image(picture(1)) != store.put_image(picture())


def test_hash_is_that_of_the_file(local: Store) -> None:
    frame = local.put_image(picture())
    path = local.image_path(frame)
    assert hashlib.sha256(Path(path).read_bytes()).hexdigest() == frame.hash
    assert path.endswith(f"objects/{frame.hash[:2]}/{frame.hash}.png")


def test_same_pixels_and_step_give_the_same_hashes_in_another_process(local: Store, tmp_path: Path) -> None:
    code = (
        "from PIL import Image; from brushloop.store import Store; from brushloop.canvas import *; import sys\n"
        f"s = Store({str(tmp_path / 'other')!r}); f = s.put_image(Image.linear_gradient('L'))\n"
        "print(f.hash, s.put_step(Step(kind='draft', outputs=(f,), settings={'b': 1, 'a': 0.5})))\n"
        "assert not {'torch', 'fsspec'} & set(sys.modules), 'a heavy import came along'"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"PYTHONHASHSEED": "7"}
    )
    assert run.returncode == 0, run.stderr
    frame = local.put_image(Image.linear_gradient("L"))
    step = local.put_step(Step(kind=StepKind.DRAFT, outputs=(frame,), settings={"a": 0.5, "b": 1}))
    assert run.stdout.split() == [frame.hash, step]


# Steps


def test_step_comes_back_and_putting_again_touches_nothing(local: Store) -> None:
    id, hashes = paint(local)
    before = snapshot(local.url)
    frame = local.put_image(picture(1))
    step = Step(kind=StepKind.DRAFT, parent=hashes[1], outputs=(frame,), seed=1)
    assert local.put_step(step) == hashes[2]
    assert local.get_step(hashes[2]) == step
    assert local.create(hashes[0], id) == id
    assert snapshot(local.url) == before


scalars = st.text() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(-1e15, 1e15)


@settings(max_examples=60, deadline=None)
@given(
    text=st.text(),
    chosen=st.dictionaries(st.text(), scalars, max_size=5),
    seed=st.none() | st.integers(0, 2**63 - 1),
    seconds=st.floats(1e-9, 1e300),
    tokens=st.integers(1, 2**80),
)
def test_canonical_json_round_trip(
    text: str, chosen: dict[str, str | int | float | bool], seed: int | None, seconds: float, tokens: int
) -> None:
    wanted = Brief(prompt="a cat", seed=seed or 0, budget=Budget(seconds=seconds, tokens=tokens))
    step = Step(kind=StepKind.BRIEF, text=text, brief=wanted, settings=chosen, seed=seed)
    data = step_json(step)
    back = read_step(data, "the step")
    assert back == step
    assert step_json(back) == data


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**53, -1e300])
def test_setting_that_json_cannot_hold_is_refused(local: Store, value: float) -> None:
    with pytest.raises(InputError, match="setting 'x' of a draft step"):
        local.put_step(Step(kind=StepKind.DRAFT, settings={"x": value}))


def test_endless_budget_cannot_be_recorded(local: Store) -> None:
    with pytest.raises(InputError, match="a brief step cannot be recorded"):
        local.put_step(brief(budget=Budget(seconds=float("inf"))))


def test_fork_is_two_children_of_one_parent(store: Store) -> None:
    _, hashes = paint(store)
    left, right = (store.put_step(Step(kind=StepKind.REFINE, parent=hashes[1], seed=seed)) for seed in (1, 2))
    fork = store.create(hashes[1])
    store.set_head(fork, left)
    assert left != right
    assert [digest for digest, _ in store.chain(left)] == [*hashes[:2], left]
    assert [digest for digest, _ in store.chain(right)] == [*hashes[:2], right]
    assert next(head for head in store.heads() if head.id == fork).root == hashes[1]
    assert store.verify(fork) == []


def test_measurements_lie_beside_the_step(store: Store) -> None:
    _, hashes = paint(store)
    assert store.measurements(hashes[1]) == {}
    store.measure(hashes[1], seconds=0.5, host="old")
    store.measure(hashes[1], host="new", tokens=7)
    assert store.measurements(hashes[1]) == {"seconds": 0.5, "tokens": 7, "host": "new"}
    assert [digest for digest, _ in store.chain(hashes[-1])] == hashes
    with pytest.raises(InputError, match="finite"):
        store.measure(hashes[1], seconds=float("nan"))


# Creations


def test_heads_are_the_newest_first(store: Store) -> None:
    assert store.heads() == []
    root = store.put_step(brief())
    ids = []
    for _ in range(3):
        ids.append(store.create(root))
        time.sleep(0.002)
    assert [head.id for head in store.heads()] == ids[::-1]
    assert sorted(ids) == ids
    store.set_head(ids[0], store.put_step(Step(kind=StepKind.PLAN, parent=root)))
    first = store.heads()[-1]
    assert first.updated > first.created
    assert (first.root, first.head) == (root, store.head(ids[0]))


def test_head_never_names_a_step_that_is_not_there(store: Store) -> None:
    id, hashes = paint(store)
    with pytest.raises(MissingObjectError, match="0" * 64):
        store.set_head(id, "0" * 64)
    with pytest.raises(MissingObjectError):
        store.create("0" * 64)
    assert store.head(id) == hashes[-1]
    assert len(store.heads()) == 1


def test_id_is_taken_once(store: Store) -> None:
    root, other = store.put_step(brief()), store.put_step(brief("a dog"))
    assert store.create(root, "my-cat") == "my-cat"
    with pytest.raises(InputError, match="already another creation 'my-cat'"):
        store.create(other, "my-cat")
    assert store.head("my-cat") == root


def test_resolve_by_id_hash_or_prefix(store: Store) -> None:
    id, hashes = paint(store)
    assert store.resolve(id) == store.resolve(id[:-1]) == (id, hashes[-1])
    assert store.resolve(hashes[1]) == store.resolve(hashes[1][:8]) == (id, hashes[1])
    fork = store.create(hashes[1])
    assert store.resolve(hashes[1]) == (fork, hashes[1])
    assert store.resolve(hashes[0]) == (id, hashes[0])


def test_resolve_says_what_is_near(store: Store) -> None:
    with pytest.raises(UnknownCreationError, match="holds no creation yet"):
        store.resolve("anything")
    root = store.put_step(brief())
    for id in ("red-cat-1", "red-cat-2"):
        store.create(root, id)
    with pytest.raises(UnknownCreationError, match=r"nearest are .*red-cat-1"):
        store.resolve("red-cta-1")
    with pytest.raises(UnknownCreationError, match=r"more than one.*red-cat-1, red-cat-2"):
        store.resolve("red")
    orphan = store.put_step(brief("nobody's"))
    with pytest.raises(UnknownCreationError, match="no creation leads to it"):
        store.resolve(orphan)
    with pytest.raises(UnknownCreationError):
        store.resolve(root[:5])


def test_damage_to_another_creation_does_not_hide_a_step(local: Store) -> None:
    _, hashes = paint(local)
    root = local.put_step(brief("a dog"))
    id = local.create(root)
    local.set_head(id, local.put_step(Step(kind=StepKind.PLAN, parent=root)))
    flip(local.step_path(hashes[-1]))
    assert local.resolve(root) == (id, root)


@pytest.mark.parametrize(
    "name", ["../x", "..", "", "/etc/passwd", "a/b", "A", "x" * 65, "a\0b", "a\n", "-a", "é", "a" * 64 + "/../x"]
)
def test_hostile_names_cannot_leave_the_store(local: Store, name: str) -> None:
    _, hashes = paint(local)
    before = snapshot(str(Path(local.url).parent))
    for lookup in (local.head, local.verify, local.resolve, lambda id: local.set_head(id, hashes[0])):
        with pytest.raises(UnknownCreationError) as error:
            lookup(name)
        assert "\n" not in str(error.value)
    with pytest.raises(InputError):
        local.create(hashes[0], name)
    for read in (local.get_step, local.get_image, local.image_path, local.measurements, local.create, local.measure):
        with pytest.raises(InputError, match="not the hash of an object"):
            read(name)
    assert snapshot(str(Path(local.url).parent)) == before


# Damage


def test_verify_is_silent_on_a_sound_creation(store: Store) -> None:
    id, _ = paint(store)
    assert store.verify(id) == []


@pytest.mark.parametrize("number", [0, 1, 2])
def test_verify_names_the_step_that_was_changed(local: Store, number: int) -> None:
    id, hashes = paint(local)
    path = local.step_path(hashes[number])
    Path(path).write_bytes(Path(path).read_bytes().replace(b'"text":"', b'"text":"!'))
    (problem,) = local.verify(id)
    assert (problem.kind, problem.object, problem.path) == ("corrupt_object", hashes[number], path)
    assert hashes[number] in problem.message
    with pytest.raises(CorruptObjectError, match=hashes[number]):
        local.get_step(hashes[number])


def test_one_fault_hides_no_other(local: Store) -> None:
    id, hashes = paint(local, drafts=3)
    frame = local.get_step(hashes[1]).outputs[0]
    flip(local.image_path(frame))
    for digest in (hashes[0], hashes[2]):
        path = Path(local.step_path(digest))
        path.write_bytes(path.read_bytes().replace(b'"text":"', b'"text":"!'))
    assert [problem.object for problem in local.verify(id)] == [hashes[2], hashes[0], frame.hash]


def test_verify_names_the_picture_that_was_changed_and_one_that_is_gone(local: Store) -> None:
    id, hashes = paint(local, drafts=3)
    first, second, _ = (local.get_step(digest).outputs[0] for digest in hashes[1:])
    flip(local.image_path(first))
    os.unlink(local.image_path(second))
    assert {(p.kind, p.object) for p in local.verify(id)} == {
        ("corrupt_object", first.hash),
        ("missing_object", second.hash),
    }
    with pytest.raises(CorruptObjectError, match=first.hash):
        local.get_image(first)
    with pytest.raises(MissingObjectError, match=second.hash):
        local.get_image(second)


def test_verify_reaches_inputs_and_the_pictures_of_the_brief(local: Store) -> None:
    frames = [local.put_image(picture(shade)) for shade in range(3)]
    unit = ConditionUnit(text="like {image1}", images=(UnitImage(image=frames[0], mask=frames[1]),))
    root = local.put_step(brief(units=(unit,)))
    id = local.create(root)
    local.set_head(id, local.put_step(Step(kind=StepKind.REFLECT, parent=root, inputs=(frames[2],))))
    for frame in frames:
        os.unlink(local.image_path(frame))
    assert {problem.object for problem in local.verify(id)} == {frame.hash for frame in frames}


def test_verify_names_a_missing_step_and_stops_there(local: Store) -> None:
    id, hashes = paint(local)
    os.unlink(local.step_path(hashes[1]))
    assert [(p.kind, p.object) for p in local.verify(id)] == [("missing_object", hashes[1])]


def test_verify_notices_a_head_moved_to_another_creation(local: Store) -> None:
    id, hashes = paint(local)
    local.set_head(id, local.put_step(brief("a dog")))
    assert [(p.kind, p.object) for p in local.verify(id)] == [("root", hashes[0])]


def test_picture_of_another_size_than_its_step_says(local: Store) -> None:
    frame = local.put_image(picture())
    with pytest.raises(CorruptObjectError, match="24x16 pixels, but its step says 8x8"):
        local.get_image(Frame(hash=frame.hash, width=8, height=8))


def test_bytes_with_the_right_hash_may_still_be_no_object(local: Store) -> None:
    for data, suffix in ((b"not a step", "json"), (b"not a picture", "png"), (b'{"kind":"draft"}x', "json")):
        digest = hashlib.sha256(data).hexdigest()
        path = Path(local.url, "objects", digest[:2], f"{digest}.{suffix}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        with pytest.raises(CorruptObjectError, match=digest) as error:
            (local.get_step if suffix == "json" else local.get_image)(digest)
        assert "\n" not in str(error.value)


def test_truncated_objects_are_noticed_and_putting_them_again_repairs_them(local: Store) -> None:
    id, hashes = paint(local, drafts=1)
    step = local.get_step(hashes[1])
    for path in (local.step_path(hashes[1]), local.image_path(step.outputs[0])):
        os.truncate(path, 30)
    assert [p.kind for p in local.verify(id)] == ["corrupt_object"]
    local.put_step(step)
    local.put_image(picture())
    assert local.verify(id) == []


def test_step_of_a_later_version_is_refused(local: Store) -> None:
    later = Step(kind=StepKind.DRAFT, version=SCHEMA_VERSION + 1)
    strange = step_json(later).replace(b'"kind"', b'"mood":"new","kind"')
    digest = hashlib.sha256(strange).hexdigest()
    path = Path(local.step_path(digest))
    path.parent.mkdir(parents=True)
    path.write_bytes(strange)
    for found in (digest, local.put_step(later)):
        with pytest.raises(VersionError, match=rf"{found}.*format {SCHEMA_VERSION + 1}.*upgrade"):
            local.get_step(found)


def test_torn_last_line_of_the_heads_falls_back_and_is_reported(local: Store) -> None:
    id, hashes = paint(local)
    path = Path(local.url, "heads", f"{id}.jsonl")
    path.write_bytes(path.read_bytes()[:-40])
    assert local.head(id) == hashes[-2]
    assert [(p.kind, p.object) for p in local.verify(id)] == [("head", id)]
    local.set_head(id, hashes[-1])
    assert local.head(id) == hashes[-1]
    assert local.verify(id) == []
    path.write_bytes(b"\xff\x00 nonsense")
    for read in (local.head, local.resolve):
        with pytest.raises(CorruptObjectError, match=re.escape(str(path))):
            read(id)
    assert [p.kind for p in local.verify(id)] == ["corrupt_object"]


def test_torn_measurement_costs_only_itself(local: Store) -> None:
    digest = local.put_step(brief())
    local.measure(digest, seconds=1.0)
    local.measure(digest, tokens=5)
    path = Path(local.url, "notes", digest[:2], f"{digest}.jsonl")
    path.write_bytes(path.read_bytes()[:-4])
    local.measure(digest, host="here")
    assert local.measurements(digest) == {"seconds": 1.0, "host": "here"}


# The disk


def refuse(number: int) -> Any:
    """An `open` that reads, but answers every write with this errno."""

    def fake(path: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if set(mode) & set("wxa+"):
            raise OSError(number, os.strerror(number), str(path))
        return builtins.open(path, mode, *args, **kwargs)

    return fake


@pytest.mark.parametrize(
    ("number", "advice"),
    [(errno.EACCES, "may not write"), (errno.EROFS, "read-only"), (errno.ENOSPC, "free some space")],
)
def test_disk_that_refuses_is_one_clear_line(
    local: Store, monkeypatch: pytest.MonkeyPatch, number: int, advice: str
) -> None:
    id, hashes = paint(local)
    before = snapshot(local.url)
    monkeypatch.setattr(files, "open", refuse(number), raising=False)
    for write in (
        lambda: local.put_image(picture(99)),
        lambda: local.put_step(brief("a dog")),
        lambda: local.create(hashes[0]),
        lambda: local.set_head(id, hashes[0]),
        lambda: local.measure(hashes[0], seconds=1.0),
    ):
        with pytest.raises(UnwritableError, match=rf"{re.escape(local.url)}.*{advice}") as error:
            write()
        assert "\n" not in str(error.value)
    assert local.put_step(brief()) == hashes[0], "what is already there needs no writing"
    monkeypatch.undo()
    assert snapshot(local.url) == before
    assert local.verify(id) == []


@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_write_cut_short_leaves_no_object_and_no_litter(
    local: Store, monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    id, _ = paint(local)
    before = snapshot(local.url)

    def replace(source: str, target: str) -> None:
        raise fault

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(UnwritableError if isinstance(fault, OSError) else KeyboardInterrupt):
        local.put_step(brief("a dog"))
    monkeypatch.undo()
    assert snapshot(local.url) == before
    assert local.verify(id) == []


def test_leftover_of_a_killed_writer_is_no_object(local: Store) -> None:
    id, hashes = paint(local)
    for folder in ("heads", f"objects/{hashes[0][:2]}"):
        Path(local.url, folder, ".0123456789abcdef.tmp").write_bytes(b"half")
    assert [head.id for head in local.heads()] == [id]
    assert local.resolve(hashes[0][:6]) == (id, hashes[0])


def test_home_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("not a folder")
    store = Store(tmp_path / "home")
    with pytest.raises(UnwritableError, match="choose another folder"):
        store.put_step(brief())
    with pytest.raises(StoreError, match="cannot read"):
        store.heads()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc to see which files were synced")
def test_finished_creation_is_on_the_disk_before_its_head_says_so(
    local: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    id, hashes = paint(local)
    synced: list[str] = []
    head_at_sync: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        head_at_sync.append(local.head(id))
        real(descriptor)

    finish = local.put_step(Step(kind=StepKind.FINISH, parent=hashes[-1]))
    monkeypatch.setattr(os, "fsync", fsync)
    local.set_head(id, finish)
    pictures = [local.image_path(frame) for _, step in local.chain(finish) for frame in step.outputs]
    assert set(synced[:-1]) == {*pictures, *map(local.step_path, [*hashes, finish])}
    assert synced[-1].endswith(f"{id}.jsonl")
    assert head_at_sync == [hashes[-1]] * (len(synced) - 1) + [finish]


def test_many_writers_of_the_same_objects(local: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: paint(local), range(16)))
    assert len({tuple(hashes) for _, hashes in results}) == 1
    assert len({id for id, _ in results}) == 16
    assert all(local.verify(id) == [] for id, _ in results)


# Where it is


def test_home_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BRUSHLOOP_HOME", str(tmp_path / "here"))
    assert Store().url == str(tmp_path / "here")
    assert not (tmp_path / "here").exists(), "opening a store writes nothing"
    monkeypatch.delenv("BRUSHLOOP_HOME")
    assert Path(Store().url).name == "brushloop"


def test_file_url_is_a_local_folder(tmp_path: Path) -> None:
    digest = Store(f"file://{tmp_path}").put_step(brief())
    assert Store(tmp_path).get_step(digest) == brief()


def test_fsspec_folders_are_made_when_they_are_needed(tmp_path: Path) -> None:
    far = files.RemoteFiles(f"file://{tmp_path}/far/")
    assert far.names("heads") == []
    far.append("heads/a.jsonl", b"one")
    far.write("heads/a.jsonl", b"one\ntorn")
    far.append("heads/a.jsonl", b"two")
    assert (far.names("heads"), far.read("heads/a.jsonl")) == (["a.jsonl"], b"one\ntorn\ntwo\n")
    assert far.where("heads/a.jsonl") == f"file://{tmp_path}/far/heads/a.jsonl"


def test_fsspec_errors_are_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.implementations.memory import MemoryFileSystem  # type: ignore[import-untyped]

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Access denied")

    store = Store("memory://locked")
    digest = store.put_step(brief())
    for method in ("cat_file", "pipe_file", "ls"):
        monkeypatch.setattr(MemoryFileSystem, method, refused)
    with pytest.raises(UnwritableError, match=r"memory://locked/objects/.*Access denied; you may not write there"):
        store.put_step(brief("a dog"))
    for read in (lambda: store.get_step(digest), store.heads):
        with pytest.raises(StoreError, match=r"cannot read memory://locked/.*Access denied"):
            read()


def test_unknown_filesystem_is_refused() -> None:
    with pytest.raises(StoreError, match="cannot open the store nosuch://x"):
        Store("nosuch://x")


def test_a_recorded_step_is_put_measured_and_the_head(local: Store) -> None:
    id = local.create(local.put_step(brief("a cat")))
    step = Step(kind=StepKind.PLAN, parent=local.head(id))
    digest = local.record(id, step, seconds=0.5, tokens=3)
    assert local.head(id) == digest and local.get_step(digest) == step
    assert local.measurements(digest) == {"seconds": 0.5, "tokens": 3}
    finish = local.record(id, Step(kind=StepKind.FINISH, parent=digest))
    assert local.head(id) == finish and local.measurements(finish) == {}
    with pytest.raises(UnknownCreationError):
        local.record("nobody", step)
