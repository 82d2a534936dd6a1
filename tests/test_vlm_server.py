"""Starting a server: the command, a server that answers, one that dies, and what is wrong before it starts.

`tests/test_vlm_served.py` does it with the real vLLM; here a script of a few lines stands in its place.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import jinja2
import pytest

from brushloop.cli.main import main
from brushloop.errors import BackendError, InputError, ServerError, WeightsError
from brushloop.vlm_embedded import conversation
from brushloop.vlm_server import SHORT_QUESTIONS, arguments, python_with_vllm, serving

STAND_IN = """#!{python}
import sys, http.server
words = sys.argv[1:]
if words[0] == "-c":
    sys.exit(0)
{trouble}
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
print("up", flush=True)
port = int(words[words.index("--port") + 1])
http.server.HTTPServer(("127.0.0.1", port), Health).serve_forever()
"""


def stand_in(folder: Path, trouble: str = "") -> str:
    path = folder / "python"
    path.write_text(STAND_IN.format(python=sys.executable, trouble=trouble))
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def weights(tmp_path: Path) -> str:
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return str(folder)


def test_the_template_of_the_embedded_model_leaves_instructions_out() -> None:
    template = jinja2.Environment().from_string(SHORT_QUESTIONS)
    for pictures in (0, 2):
        content = [{"type": "text", "text": "look: a cat"}, *[{"type": "image"}] * pictures]
        turns = [{"role": "system", "content": "Answer in JSON."}, {"role": "user", "content": content}]
        said = template.render(messages=turns, add_generation_prompt=True)
        assert said.replace("<image>", "") == conversation("look: a cat")
        assert said.count("<image>") == pictures


def test_the_command_serves_one_name_in_either_format() -> None:
    plain = arguments(Path("m"), "m", "127.0.0.1", 8000, embedded=False)
    ours = arguments(Path("m"), "embedded", "127.0.0.1", 8000, embedded=True)
    assert plain[:2] == ["-m", "vllm.entrypoints.openai.api_server"]
    assert "--chat-template" not in plain and ours[ours.index("--chat-template") + 1] == SHORT_QUESTIONS
    assert json.loads(plain[plain.index("--structured-outputs-config") + 1])["backend"] == "guidance"


def test_a_server_is_waited_for_and_ended(weights: str, tmp_path: Path) -> None:
    with serving(weights, port=0, python=stand_in(tmp_path), options="--seed 3") as served:
        assert served.name.startswith("openai:http://127.0.0.1:") and served.name.endswith("/v1#tiny")
        url = served.name.removeprefix("openai:").partition("/v1")[0]
        assert urllib.request.urlopen(url, timeout=5).status == 200
    assert served.process.poll() is not None


def test_a_server_that_dies_leaves_its_last_words(weights: str, tmp_path: Path) -> None:
    dies = stand_in(tmp_path, "sys.exit('ValueError: no such model\\nbye')")
    with (
        pytest.raises(ServerError, match="exit code 1: ValueError: no such model"),
        serving(weights, port=0, python=dies),
    ):
        pass
    slow = stand_in(tmp_path, "print('loading', flush=True); import time; time.sleep(60)")
    with pytest.raises(ServerError, match=r"within 0\.6 s"), serving(weights, port=0, python=slow, seconds=0.6):
        pass


def test_what_is_wrong_before_it_starts(weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = stand_in(tmp_path)
    with pytest.raises(WeightsError, match="no such folder"), serving(str(tmp_path / "none"), python=python):
        pass
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        taken = busy.getsockname()[1]
        with pytest.raises(InputError, match="--port"), serving(weights, port=taken, python=python):
            pass
    for port in (-1, 70000):
        with pytest.raises(InputError, match="cannot serve"), serving(weights, port=port, python=python):
            pass
    with pytest.raises(InputError, match="are no options"), serving(weights, port=0, python=python, options='"'):
        pass
    monkeypatch.chdir(tmp_path)
    for named in (None, "nowhere/python", sys.executable):
        with pytest.raises(BackendError, match="--python"):
            python_with_vllm(named)


def test_the_command_line(weights: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["serve-vlm", weights, "--python", "nowhere", "--json"]) == 3
    out = capfd.readouterr().out
    assert json.loads(out)["error"]["code"] == "backend"
    words = [sys.executable, "-m", "brushloop", "serve-vlm", weights, "--port", "0", "--python", stand_in(tmp_path)]
    process = subprocess.Popen([*words, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    lines = [process.stdout.readline()]
    while not lines[-1].startswith("}"):
        lines.append(process.stdout.readline())
    told = json.loads("".join(lines))
    assert told["vlm"].endswith("#tiny")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0 and said.splitlines()[-1] == "stopped"
    until = time.monotonic() + 5
    while time.monotonic() < until and alive(told["pid"]):
        time.sleep(0.05)
    assert not alive(told["pid"]), "the server ends with its command"


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
