"""`accelerate launch` with two processes learns what one does, also after a kill."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.train, pytest.mark.slow]
PROGRAM = Path(__file__).with_name("tiny_stage.py")


def launch(processes, folder, batch, *more):
    """Start the program under `accelerate launch`, as a group of processes of its own."""
    # With `--cpu` the launcher starts one process, whatever is asked for; with `--multi_gpu` as many, on processors too.
    command = [sys.executable, "-m", "accelerate.commands.launch", *(["--multi_gpu"] if processes > 1 else ["--cpu"])]
    command += [
        "--num_machines",
        "1",
        "--dynamo_backend",
        "no",
        "--mixed_precision",
        "no",
        "--num_processes",
        str(processes),
    ]
    command += ["--main_process_port", "0"]
    command += [str(PROGRAM), str(folder), str(batch), *more]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def finished(process):
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-2000:]


def lines(folder):
    path = folder / "log.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def probes(folder):
    """The measured loss after each step; of a step that was done twice, the last one."""
    return {line["step"]: line["probe"] for line in lines(folder)}


def test_two_processes_learn_what_one_does_and_resume_after_a_kill(tmp_path):
    alone, both, killed = (tmp_path / name for name in ("alone", "both", "killed"))
    finished(launch(1, alone, 4))
    finished(launch(2, both, 2))
    assert len(probes(alone)) == 12
    assert probes(both) == pytest.approx(probes(alone), rel=1e-4)

    process = launch(2, killed, 2, "6")
    process.communicate(timeout=300)
    assert process.returncode and len(lines(killed)) == 5
    finished(launch(2, killed, 2))
    assert probes(killed) == pytest.approx(probes(alone), rel=1e-4)
    assert [line["step"] for line in lines(killed)] == [*range(1, 13)]
