"""An export on a full disk, in a read-only place, without a home, under odd locales, on forty columns, interrupted:
the target is absent or whole, and the code a documented one."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys

import pytest

from medrega_edge.errors import ResourceError, UsageError
from medrega_edge.package.package import Package
from tests.edge.test_faults import BARE, locales, plain, screen  # noqa: F401 - a fixture
from tests.export.conftest import write_checkpoint
from tools import forked
from tools.kill_export import kill_until_done

pytestmark = pytest.mark.export

QUICK = ("--bits", "32", "--head-bits", "32", "--tower", "fp32")  # nothing is quantised: seconds


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    import torch

    import medrega_export.pipeline  # noqa: F401 - loaded once for all exports here

    torch.set_num_threads(1)  # threads do not survive a fork
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "检查点")


def export(checkpoint, out, **options):
    return forked.run(["export", checkpoint, "--out", out, *QUICK], out.parent, hangs_after=120, **options)


def half(folder):
    """What lies in a folder and is neither a package nor the export's own work, which its next run takes up."""
    return [path.name for path in folder.iterdir() if not path.name.startswith(".package.")]


@pytest.mark.parametrize("room", [4096, 40_000, 300_000])
def test_a_full_disk(checkpoint, tmp_path, room):
    def confine():
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))

    ended = export(checkpoint, tmp_path / "package", confine=confine)
    assert ended.code == ResourceError.exit_code, ended.err
    assert "Traceback" not in ended.err
    assert half(tmp_path) == []
    assert export(checkpoint, tmp_path / "package").code == 0
    Package.open(tmp_path / "package").verify()


def test_a_place_that_cannot_be_written(checkpoint, tmp_path):
    for out in ("/proc/package", "/proc/none/package"):
        ended = forked.run(["export", checkpoint, "--out", out, *QUICK], tmp_path, hangs_after=120)
        assert ended.code == UsageError.exit_code, ended.err
        assert "Traceback" not in ended.err


@pytest.mark.parametrize("home", [None, "", "/nonexistent"])
def test_no_home(checkpoint, tmp_path, home):
    def confine():
        os.environ.pop("HOME", None)
        if home is not None:
            os.environ["HOME"] = home

    assert export(checkpoint, tmp_path / "package", confine=confine).code == 0
    assert half(tmp_path) == ["package"]


def test_an_interrupt_at_any_moment(checkpoint, tmp_path):
    dice = random.Random(0)
    for number in (signal.SIGINT, signal.SIGTERM) * 3:
        ended = export(checkpoint, tmp_path / "package", after=dice.uniform(0.05, 2), number=number)
        assert ended.code in (0, 128 + number), (ended.code, ended.err)
        assert "Traceback" not in ended.err
        assert half(tmp_path) == ["package"] * (ended.code == 0)
        shutil.rmtree(tmp_path / "package", ignore_errors=True)
    assert export(checkpoint, tmp_path / "package").code == 0


@pytest.mark.parametrize("locale", ["C", "zh_CN.GBK", "tr_TR.ISO-8859-9"])
def test_locales(checkpoint, tmp_path, locale, locales):  # noqa: F811
    """Names have to be in UTF-8, because safetensors and onnx open no others, which is said; else any locale will do."""
    if "." in locale and not (locales / locale).is_dir():
        pytest.skip(f"cannot make the locale {locale} here")
    encoding = locale.partition(".")[2].lower() or "utf-8"
    name = os.fsencode(tmp_path) + b"/" + ("İıŞğ" if encoding.startswith("iso") else "检查点").encode(encoding)
    plain_name = os.fsencode(tmp_path / "plain")
    shutil.copytree(os.fsencode(checkpoint), plain_name)
    shutil.copytree(os.fsencode(checkpoint), name)

    def run(source, out):
        command = [sys.executable, "-m", "medrega_edge", "export", source, "--out", out, *QUICK]
        environment = BARE | {"LC_ALL": locale, "LOCPATH": str(locales)}
        done = subprocess.run(command, capture_output=True, env=environment, check=False)
        assert b"Traceback" not in done.stderr
        return done

    assert run(plain_name, plain_name + b"-out").returncode == 0
    Package.open(tmp_path / "plain-out").verify()
    for source, out in ((name, plain_name + b"-again"), (plain_name, name + b"-out")):
        done = run(source, out)
        if encoding == "utf-8":
            assert done.returncode == 0, done.stderr
        else:
            assert done.returncode == UsageError.exit_code, done.stderr
            assert b"UTF-8" in done.stderr
            assert not os.path.exists(out)


def test_forty_columns_and_an_interrupt_restore_the_terminal(checkpoint, tmp_path):
    command = [sys.executable, "-m", "medrega_edge", "export", str(checkpoint), "--out", str(tmp_path / "package"), *QUICK]
    code, shown, same = screen(
        command, after=lambda process: process.send_signal(signal.SIGINT), when="视觉塔|vision tower".encode()
    )
    assert code == 130, plain(shown)
    assert same
    assert "Traceback" not in shown
    if half(tmp_path):  # where the signal came late, the package is there, and whole
        Package.open(tmp_path / "package").verify()
    assert half(tmp_path) in ([], ["package"])


def test_a_killed_export_leaves_its_target_absent_or_whole(checkpoint, tmp_path):
    found = kill_until_done(tmp_path, 3, bits="32")
    assert (found["kills"], found["different"]) == (3, 0)
