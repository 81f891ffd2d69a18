"""Rules that a check holds, not memory (docs/design.md)."""

import ast
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


RUNTIME = Path(__file__).parents[2] / "medrega_edge"
NETWORK = {  # what can reach a network, or reaches it for a program
    *("socket", "ssl", "socketserver", "asyncio", "selectors", "http", "urllib", "urllib3", "requests", "httpx", "aiohttp"),
    *("ftplib", "smtplib", "imaplib", "poplib", "telnetlib", "xmlrpc", "pynetdicom", "dicomweb_client", "uvicorn"),
}
REACH = {  # the only modules that may: the listeners of `serve` and `node`, and what `node` and `batch` are told to call
    "cli/serve.py": {"asyncio"},
    "server/*.py": {"asyncio"},
    "server/run.py": {"socket", "ssl", "uvicorn"},
    "node/*.py": {"pynetdicom"},
    "node/connection.py": {"socket", "ssl"},
    "node/entity.py": {"ssl"},
    "node/listener.py": {"socket", "ssl"},
    "node/stow.py": {"requests", "dicomweb_client", "urllib"},
    "batch/dicomweb.py": {"requests", "dicomweb_client", "urllib", "urllib3", "ssl"},
}


def test_only_these_modules_can_reach_a_network():
    for path in RUNTIME.rglob("*.py"):
        place = path.relative_to(RUNTIME)
        allowed = set().union(*(names for pattern, names in REACH.items() if place.match(pattern)))
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            reached = {name.partition(".")[0] for name in names} & NETWORK
            assert reached <= allowed, f"{place} imports {reached - allowed}"


# Blocks of a job between a driver and its own actors: Ray pickles what actors are made of anyway.
PICKLES = ("ray_engine.py", "ray_worker.py")


def test_no_dangerous_calls_in_the_runtime():
    for path in RUNTIME.rglob("*.py"):
        text = path.read_text(encoding="utf-8").replace("error.show()", "")  # click's, which prints; Pillow's runs a viewer
        for word in ("pickle.", "eval(", "exec(", "shell=True", "trust_remote_code", ".show()"):
            assert word not in text or (word == "pickle." and path.name in PICKLES), f"{word} in {path.name}"
