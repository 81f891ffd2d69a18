"""What a start leaves out: libraries that this question does not need."""

import subprocess
import sys

from PIL import Image

_RUN = """
import sys
sys.argv = ["medrega", "ask", {path!r}, "where is the liver?", "--json"]
from medrega_edge.cli.main import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print(*[name for name in {names!r} if name in sys.modules], file=sys.stderr)
"""
_HEAVY = (
    "pydicom",
    "requests",
    "rich",
    "prompt_toolkit",
    "rapidfuzz",
    "medrega_edge.tasks.follow_up",
    "medrega_edge.inference.prefix_cache",
)


def _imported_for(path):
    code = _RUN.format(path=str(path), names=_HEAVY)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stderr.split()


def test_a_question_about_a_png_imports_no_dicom_library(tmp_path):
    Image.linear_gradient("L").save(tmp_path / "scan.png")
    assert _imported_for(tmp_path / "scan.png") == []


def test_a_question_about_a_dicom_file_imports_nothing_that_downloads():
    from medrega_edge.images.samples import sample_path

    assert _imported_for(sample_path("abdomen-mri")) == ["pydicom"]


def test_a_file_that_is_no_image_says_so_while_the_package_loads(tmp_path):
    (tmp_path / "note.txt").write_text("no image")
    run = subprocess.run(
        [sys.executable, "-m", "medrega_edge", "ask", str(tmp_path / "note.txt"), "where is the liver?"],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 3
    assert len(run.stderr.strip().splitlines()) == 1
    assert "Traceback" not in run.stderr


def test_the_option_and_the_engine_agree_on_the_size_of_a_cache():
    from medrega_edge.cli.options import ModelOptions
    from medrega_edge.engine import CACHE_BYTES

    assert ModelOptions().cache_bytes == CACHE_BYTES
