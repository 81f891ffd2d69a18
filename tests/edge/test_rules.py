"""Rules that a check holds, not memory (docs/design.md)."""

import subprocess
import sys
from pathlib import Path

PROBE = """
import socket, sys
def refuse(*_, **__): raise AssertionError("a socket was opened")
socket.socket.connect = socket.socket.bind = refuse
import os
import medrega_edge
from medrega_edge.images.samples import sample_path
engine = medrega_edge.load(threads=1)
answer = engine.ask(engine.open(sample_path("abdomen-mri")), "locate the liver")
assert answer.text
assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
banned = {"torch", "transformers", "onnx", "optimum", "medrega_train", "medrega_export", "medrega_bench"}
assert not banned & set(sys.modules), banned & set(sys.modules)
"""


def test_an_answer_needs_no_torch_no_network_and_no_telemetry():
    run = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, check=False)
    assert run.returncode == 0, run.stderr.decode()


def test_nothing_is_written_but_what_was_named(tmp_path):
    command = [sys.executable, "-m", "medrega_edge", "ask", "--sample", "abdomen-mri", "locate the liver"]
    environment = {"HOME": str(tmp_path), "PATH": "", "PYTHONDONTWRITEBYTECODE": "1"}
    run = subprocess.run(command, capture_output=True, env=environment, cwd=tmp_path, check=False)
    assert run.returncode == 0, run.stderr
    assert list(tmp_path.iterdir()) == []


def test_no_dangerous_calls_in_the_runtime():
    root = Path(__file__).parents[2] / "medrega_edge"
    for path in root.rglob("*.py"):
        text = path.read_text(encoding="utf-8").replace("error.show()", "")  # click's, which prints; Pillow's runs a viewer
        listens = path == root / "server" / "run.py"  # the only module that opens a socket
        for word in ("pickle.", "eval(", "exec(", "shell=True", "trust_remote_code", ".show()", "import socket"):
            assert word not in text or (listens and word == "import socket"), f"{word} in {path.name}"
