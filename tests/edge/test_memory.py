"""The memory of a package is estimated before it is loaded; a package that does not fit is refused."""

import subprocess
import sys
from dataclasses import replace

import pytest

from medrega_edge import load
from medrega_edge.errors import ResourceError
from medrega_edge.inference import memory
from medrega_edge.package.registry import find_package
from tests.codes import raises_code
from tests.edge.stub import medrega


def test_what_does_not_fit_is_refused_before_a_file_is_read(monkeypatch):
    monkeypatch.setattr(memory, "free", lambda: 50_000_000)
    monkeypatch.setattr(type(find_package()), "read_all", lambda _: pytest.fail("a file was read"))
    with raises_code(ResourceError, "resource.memory", free=50.0) as refused:
        load()
    assert refused.value.exit_code == 6


def test_weights_that_stay_on_the_disk_take_none():
    manifest = find_package().manifest
    assert memory.peak(manifest, mapped=True) > memory.peak(manifest)  # all of the default package is held: and its cache
    large = replace(manifest.files["decoder"], bytes=10**9)
    manifest = replace(manifest, files={**manifest.files, "decoder_data": large})
    assert memory.peak(manifest, mapped=True) < memory.peak(manifest) - 10**9


def test_where_nobody_tells_everything_fits(monkeypatch):
    monkeypatch.setattr(memory, "free", lambda: None)
    memory.check(find_package())


MEGABYTE = 1024 * 1024


@pytest.mark.parametrize(
    ("limit", "used", "cached", "left"),
    [
        (f"{500 * MEGABYTE}\n", 300, 0, 200),
        (f"{500 * MEGABYTE}\n", 300, 100, 300),  # what is only cached gives way
        ("max\n", 300, 0, 1000),
        (None, 300, 0, 1000),
    ],
)
def test_a_container_may_leave_less_than_the_machine(tmp_path, monkeypatch, limit, used, cached, left):
    files = {name: tmp_path / name for name in ("meminfo", "max", "current", "stat")}
    files["meminfo"].write_text(f"MemTotal: 9 kB\nMemAvailable: {1000 * 1024} kB\n")
    if limit is not None:
        files["max"].write_text(limit)
    files["current"].write_text(f"{used * MEGABYTE}\n")
    files["stat"].write_text(f"anon 1\ninactive_file {cached * MEGABYTE}\n")
    monkeypatch.setattr(memory, "MEMINFO", files["meminfo"])
    monkeypatch.setattr(memory, "CONTROL_GROUPS", ((files["max"], files["current"], files["stat"]),))
    assert memory.free() == left * MEGABYTE


def test_without_such_files_nobody_tells(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "none")
    monkeypatch.setattr(memory, "CONTROL_GROUPS", ())
    assert memory.free() is None


def test_model_info_tells_it(capsys):
    assert medrega("model", "info") == 0
    assert f"about {memory.peak(find_package().manifest) / 1e6:.0f} MB" in capsys.readouterr().out


ASK_AND_TELL = """
import sys
from medrega_edge.cli.main import main
try:
    main()
finally:
    sys.stderr.write(open("/proc/self/status").read())
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere the libraries take another amount")
def test_the_default_package_takes_what_was_told():
    command = [sys.executable, "-c", ASK_AND_TELL, "ask", "--sample", "abdomen-mri", "locate the liver", "--json"]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    # Not the peak that the system tells a parent of its child, which begins at the parent's own.
    taken = next(int(line.split()[1]) for line in run.stderr.splitlines() if line.startswith("VmHWM:")) * 1024
    assert taken == pytest.approx(memory.peak(find_package().manifest), rel=0.1)
