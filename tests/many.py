"""What more than one machine needs, started for a test and ended with it: Postgres, and a server that speaks S3.

Where one of them is not installed, the tests that need it are skipped, and say so.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

BUCKET = "creations"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def needs(*modules: str) -> None:
    """Skip the test if one of these is not installed."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: pip install -e '.[scale]'")


@contextmanager
def postgres() -> Iterator[str]:
    """A Postgres in a folder of its own; gives its URL. It refuses to run as root, so it runs as `postgres`."""
    needs("psycopg", "psycopg_pool")
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
    found = shutil.which("initdb") or (folders and str(folders[-1] / "initdb"))
    if not found:
        pytest.skip("no PostgreSQL here: install the package postgresql")
    programs = Path(found).resolve().parent
    data = tempfile.mkdtemp(prefix="brushloop-postgres-")
    as_user: list[str] = []
    if os.getuid() == 0:
        user = pwd.getpwnam("postgres")
        os.chown(data, user.pw_uid, user.pw_gid)
        as_user = ["runuser", "-u", "postgres", "--"]
    port = free_port()

    def pg(program: str, *words: str) -> None:
        command = [*as_user, str(programs / program), *words]
        subprocess.run(command, check=True, capture_output=True, cwd="/", timeout=120)

    server = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={data} -c fsync=off"
    try:
        pg("initdb", "-D", data, "-U", "brushloop", "--auth=trust", "-E", "UTF8", "--no-sync")
        subprocess.run(  # what it says goes to its own log: a pipe would be held open by the server
            [*as_user, str(programs / "pg_ctl"), "-D", data, "-w", "-l", f"{data}/log", "-o", server, "start"],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", timeout=120,
        )  # fmt: skip
        try:
            yield f"postgresql://brushloop:secret@127.0.0.1:{port}/postgres"
        finally:
            pg("pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(data, ignore_errors=True)


@contextmanager
def s3(folder: Path) -> Iterator[str]:
    """A server that speaks S3, with an empty bucket; gives the bucket's URL and sets the environment for it."""
    needs("moto", "flask", "flask_cors", "s3fs")
    import sys

    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    own = {
        "AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1", "FSSPEC_S3_ENDPOINT_URL": endpoint,
    }  # fmt: skip
    before = {name: os.environ.get(name) for name in own}
    with (folder / "s3.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log
        )
    try:
        _answers(port, server)
        os.environ.update(own)
        import s3fs

        s3fs.S3FileSystem(endpoint_url=endpoint, key="key", secret="secret").mkdir(BUCKET)
        yield f"s3://{BUCKET}"
    finally:
        server.terminate()
        server.wait(20)
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def _answers(port: int, server: subprocess.Popen[bytes], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and server.poll() is None:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError(f"nothing answers on port {port}; the server ended with {server.poll()}")
