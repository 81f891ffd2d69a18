"""Full disks, read-only folders, no home, odd locales, narrow terminals, interrupts: no half file, a documented code."""

import fcntl
import json
import os
import pty
import re
import resource
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medrega_edge.errors import ResourceError, UsageError
from medrega_edge.images.samples import sample_path
from medrega_edge.io.atomic import atomic_write, check_output_path, check_writable

many_processes = pytest.mark.slow

SCAN = str(sample_path("abdomen-mri"))
LOCATE = "locate the liver"
BARE = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}


def process(*arguments, limit=None, module="medrega_edge", **variables):
    command = [sys.executable, "-m", module, *map(str, arguments)]

    def confine():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    return subprocess.run(command, capture_output=True, env=BARE | variables, timeout=60, check=False,
                          preexec_fn=confine if limit is not None else None)  # fmt: skip


def is_root():
    return os.geteuid() == 0


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(8):
        Image.fromarray(rng.integers(0, 255, (32, 32), dtype=np.uint8)).save(folder / f"{number}.png")
    return folder


@many_processes
@pytest.mark.parametrize("room", [0, 1, 4096])
def test_a_full_disk_leaves_no_half_file(tmp_path, room):
    run = process("ask", SCAN, LOCATE, "--save", tmp_path / "marked.png", limit=room)
    assert run.returncode == ResourceError.exit_code, run.stderr
    assert run.stderr.decode().splitlines()[-1].startswith("error: There is no room")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_file_as_it_was(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(ResourceError), atomic_write(path) as file:
            file.write(b"x" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.txt", "old")]


@many_processes
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [("ask", SCAN, LOCATE, "--json"), ("ask", SCAN, LOCATE), ("model", "list")])
def test_standard_output_on_a_full_disk(arguments):
    command = [sys.executable, "-m", "medrega_edge", *arguments]
    with open("/dev/full", "wb") as full:
        run = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=BARE, check=False)
    assert run.returncode == ResourceError.exit_code
    assert run.stderr.decode().splitlines()[-1].startswith("error: There is no room")


@many_processes
def test_a_reader_that_goes_away_ends_it_quietly():
    run = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m medrega_edge model info | true"], capture_output=True, check=False
    )
    assert b"Traceback" not in run.stderr
    assert b"Exception" not in run.stderr


def test_a_place_that_takes_no_file_is_told_before_any_work(tmp_path):
    for path in (Path("/proc/x.json"), Path("/proc/version")):
        if path.parent.is_dir():
            with pytest.raises(UsageError) as error:
                check_output_path(path)
            assert error.value.code == "io.unwritable"
    old = tmp_path / "old.json"
    old.write_text("{}")
    made = old.stat().st_mtime_ns
    check_output_path(old)
    check_output_path(tmp_path / "new.json", old)
    check_writable(tmp_path)
    assert [*tmp_path.iterdir()] == [old] and (old.read_text(), old.stat().st_mtime_ns) == ("{}", made)


def test_a_read_only_folder(tmp_path, images, medrega):
    """Root may write anywhere but in /proc, where no file can be made by anybody."""
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o500)
    place = "/proc" if is_root() else folder
    for arguments in (
        ("ask", SCAN, LOCATE, "--save", f"{place}/marked.png"),
        ("batch", images, "--question", LOCATE, "--out", f"{place}/a.jsonl"),
        ("watch", images, "--question", LOCATE, "--out", f"{place}/answers"),
    ):
        run = medrega(*arguments)
        assert run.code == UsageError.exit_code, run.err
        assert "cannot be written" in run.err
    assert list(folder.iterdir()) == []


@many_processes
@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare")
def test_a_disk_that_is_really_full(tmp_path, images):
    """On a disk of 8 KiB: code 6 and no answers; with room again, the work is taken up."""
    script = (
        "mount -t tmpfs -o size=8k none {0} || exit 77; {1} -m tests.edge.stub batch {2} --question x --out {0}/a.jsonl; "
        "code=$?; ls -A {0}; exit $code"
    )
    disk = tmp_path / "disk"
    disk.mkdir()
    script = script.format(disk, sys.executable, images)
    run = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, env=BARE, check=False)
    if run.returncode in (1, 77) and b"ermi" in run.stderr:
        pytest.skip("may not mount a disk of its own")
    assert run.returncode == ResourceError.exit_code, run.stderr
    assert run.stdout.decode().split() == ["a.jsonl.part"]


@many_processes
def test_no_home(images, tmp_path):
    for variables in ({}, {"HOME": "/nonexistent"}, {"HOME": ""}):
        out = tmp_path / "a.jsonl"
        batch = ("batch", images, "--question", LOCATE, "--out", out)
        for arguments in (("ask", SCAN, LOCATE), batch, ("model", "list"), ("--help",)):
            run = process(*arguments, module="tests.edge.stub" if arguments == batch else "medrega_edge", **variables)
            assert run.returncode == 0, (arguments, run.stderr)
        out.unlink()


@pytest.fixture(scope="module")
def locales(tmp_path_factory):
    """A folder of locales made here, because few machines have them."""
    folder = tmp_path_factory.mktemp("locales")
    for name, charmap in (("zh_CN", "GBK"), ("tr_TR", "ISO-8859-9")):
        if shutil.which("localedef"):
            command = ["localedef", "-i", name, "-f", charmap, str(folder / f"{name}.{charmap}")]
            subprocess.run(command, capture_output=True, check=False)
    return folder


@many_processes
@pytest.mark.parametrize(
    ("locale", "encoding", "name", "question"),
    [
        ("C", "utf-8", "扫描 肝", "请定位肝脏"),
        ("POSIX", "utf-8", "扫描 肝", "请定位肝脏"),
        ("zh_CN.GBK", "gbk", "扫描 肝", "请定位肝脏"),
        ("tr_TR.ISO-8859-9", "iso-8859-9", "İıŞğ", "LOCATE THE LIVER"),
    ],
)
def test_locales(locale, encoding, name, question, locales, tmp_path):
    """Question, folder and file come in the bytes that such a terminal sends; answers are UTF-8 all the same."""
    variables = {"LC_ALL": locale}
    if encoding != "utf-8":
        if not (locales / locale).is_dir():
            pytest.skip(f"cannot make the locale {locale} here")
        variables["LOCPATH"] = str(locales)
    folder = os.fsencode(tmp_path) + b"/" + name.encode(encoding)
    os.mkdir(folder)
    image, questions, answers, table = (folder + f"/{name}{end}".encode(encoding) for end in (".png", ".q", ".a", ".csv"))
    with open(image, "wb") as file:
        Image.new("L", (40, 40), 60).save(file, "PNG")
    with open(questions, "w", encoding="utf-8") as file:
        file.write(json.dumps({"id": name, "image": f"{name}.png", "question": question}, ensure_ascii=False) + "\n")

    def run(*arguments):
        command = [sys.executable, "-m", "medrega_edge", *arguments]
        done = subprocess.run(command, capture_output=True, env=BARE | variables, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("ask", image, question.encode(encoding), "--save", folder + b"/marked.png")
    told = run("ask", image, question.encode(encoding), "--json", "--include-identifiers")
    assert name in json.loads(told.decode(encoding))["image"]["path"]
    run("batch", questions, "--out", answers, "--csv", table)
    with open(answers, encoding="utf-8") as file:
        row = json.loads(file.read())
    assert row["id"] == name
    assert row["language"] == ("zh" if "肝" in name else "en")
    with open(table, encoding="utf-8-sig") as file:
        assert name in file.read()


def screen(command, columns=40, after=None, when=rb"(?!)", seconds=0.15, presses=()):
    """Run on a terminal of so many columns; `after` is called with the process once `when` was shown.

    `presses` are the seconds after that moment at which Ctrl-C is typed. Returns (exit code, what was shown, whether the
    terminal's own settings are as they were).
    """
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    before = termios.tcgetattr(slave)
    environment = BARE | {"TERM": "xterm", "STUB_SECONDS": str(seconds)}
    running = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True,
                               preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))  # fmt: skip
    shown, until = b"", time.monotonic() + 60
    due = None
    while time.monotonic() < until:
        ready, _, _ = select.select([master], [], [], 0.05)
        if ready:
            shown += os.read(master, 65536)
        elif running.poll() is not None:
            break
        if due is None and re.search(when, shown):
            due = [time.monotonic() + seconds for seconds in presses]
            if after:
                after(running)
        while due and due[0] < time.monotonic():
            due.pop(0)
            os.write(master, b"\x03")
    same = termios.tcgetattr(slave) == before
    running.kill()
    code = running.wait()
    os.close(master)
    os.close(slave)
    return code, shown.decode("utf-8", "replace"), same


def plain(shown):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)


@many_processes
def test_forty_columns_show_every_figure():
    command = [sys.executable, "-m", "medrega_edge", "ask", SCAN, LOCATE]
    code, shown, same = screen(command)
    assert code == 0
    assert same
    whole = json.loads(process("ask", SCAN, LOCATE, "--json").stdout)
    words = " ".join(plain(shown).split())
    assert whole["regions"][0]["label"] in words
    for value in whole["regions"][0]["box"]:
        assert f"{value:.0f}" in words
    assert "not a medical device" in words


@many_processes
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_batch_restores_the_terminal_and_goes_on(images, tmp_path, number):
    out = tmp_path / "a.jsonl"
    command = [sys.executable, "-m", "tests.edge.stub", "batch", str(images), "--question", "x", "--out", str(out)]
    code, shown, same = screen(command, after=lambda running: running.send_signal(number), when=rb"[1-6]/8")
    assert code == 128 + number, shown
    assert same
    assert shown.rfind("\x1b[?25h") > shown.rfind("\x1b[?25l") >= 0  # the cursor is hidden no longer
    assert "Traceback" not in shown
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl.part", "in"]
    run = process(*command[3:], module="tests.edge.stub")
    assert run.returncode == 0
    assert b"already done" in run.stderr
    assert len(out.read_text().splitlines()) == 8
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "in"]


@many_processes
@many_processes
@pytest.mark.parametrize(("first", "code"), [(None, 0), (signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_the_process_ends_is_no_exception(first, code):
    """torch and others tidy up when Python ends; Python would print an exception there, as one that was ignored."""
    program = f"""
import atexit, os, signal, sys
from medrega_edge.cli import main
atexit.register(lambda: os.kill(os.getpid(), signal.SIGTERM))
if {first is not None}:
    main.forbid_core_dumps = lambda: os.kill(os.getpid(), {int(first or 0)})
sys.argv = ["medrega", "--version"]
main.main()
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (run.returncode, run.stderr) == (code, b"")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_question_leaves_nothing_and_restores_the_terminal(tmp_path, number):
    """The stub takes a minute to answer; it says that it was asked, and is interrupted then."""
    picture = tmp_path / "marked.png"
    command = [sys.executable, "-m", "tests.edge.stub", "ask", SCAN, LOCATE, "--save", str(picture)]
    code, shown, same = screen(command, after=lambda running: running.send_signal(number), when=rb"asked", seconds=60)
    assert code == 128 + number, shown
    assert same
    assert "Traceback" not in shown
    assert list(tmp_path.iterdir()) == []


WATCHING = ("watch", "IN", "--question", LOCATE, "--out", "OUT/answers")
BATCH = ("batch", "IN", "--question", LOCATE, "--out", "OUT/a.jsonl", "--threads", "2")
TYPED = {  # what is typed, what is shown when Ctrl-C comes, how long after that, what is left
    "ask": (("ask", SCAN, LOCATE, "--save", "OUT/marked.png"), b"", (0.25,), set()),  # all of it takes 0.4 s at least
    "chat": (("chat", SCAN), rb">", (0.1,), set()),
    "chat, twice": (("chat", SCAN), rb">", (0.1, 0.15), set()),
    "batch, its processes begin": (BATCH, rb"0/40", (0.05,), set()),
    "batch at work": (BATCH, rb"[1-9]/40", (0.0,), {"a.jsonl.part"}),
    "batch at work, twice": (BATCH, rb"[1-9]/40", (0.0, 0.1), {"a.jsonl.part"}),
    "watch": (WATCHING, rb"watching", (0.1,), {"answers"}),
    "watch at work": (WATCHING, rb"png: ", (0.0, 0.05), {"answers"}),
}


@many_processes
@pytest.mark.parametrize("name", TYPED)
def test_ctrl_c_typed_at_a_terminal_ends_it_quietly_and_soon(tmp_path, name):
    """The terminal sends it to every process of the command. Python may end itself by the signal: a shell shows 130 too."""
    arguments, when, presses, left = TYPED[name]
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    out.mkdir()
    rng = np.random.default_rng(0)
    for number in range(40):
        Image.fromarray(rng.integers(0, 255, (64, 64), dtype=np.uint8)).save(folder / f"{number}.png")
    arguments = [str(folder) if part == "IN" else part.replace("OUT", str(out)) for part in arguments]
    begun = time.monotonic()
    code, shown, same = screen([sys.executable, "-m", "medrega_edge", *arguments], when=when, presses=presses, columns=100)
    assert code in (130, -signal.SIGINT), shown
    assert "Traceback" not in shown, shown
    assert same
    assert shown.rfind("\x1b[?25l") <= shown.rfind("\x1b[?25h")
    assert time.monotonic() - begun < 30
    assert {path.name for path in out.iterdir()} <= left
    assert not [path for path in out.rglob("*") if path.name.endswith(".tmp")]
    for answers in out.rglob("*.jsonl"):
        assert "text" in json.loads(answers.read_text())
