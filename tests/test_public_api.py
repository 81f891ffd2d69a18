"""The names that `medrega_edge` exports: all of them, each importable, none loaded before it is used."""

import ast
import subprocess
import sys
from pathlib import Path

import medrega_edge
from medrega_edge.errors import MedregaError

NAMES = (
    "load Engine EncodedImage Answer Region Label PixelBox Task Language Mask Modality Detect Segment Identify Classify "
    "AnswerQuestion Report View MedicalImage read_image Package find_package list_packages MedregaError __version__"
).split()


def children(kind):
    return [kind.__name__, *(name for child in kind.__subclasses__() for name in children(child))]


def test_exported_names():
    errors = {name for name in children(MedregaError) if getattr(medrega_edge.errors, name, None)}
    assert set(medrega_edge.__all__) == {*NAMES, *errors}
    assert dir(medrega_edge) == sorted(medrega_edge.__all__)
    for name in medrega_edge.__all__:
        assert getattr(medrega_edge, name).__doc__


def test_a_type_checker_sees_the_same_names():
    tree = ast.parse(Path(medrega_edge.__file__).read_text("utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert set(medrega_edge.__all__) - imported == {"__version__"}


def test_the_import_is_lazy():
    probe = "import sys, medrega_edge; print(*(n for n in sys.modules if n.startswith('medrega_edge.') or n == 'numpy'))"
    run = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
    probe = "import sys; from medrega_edge import Task, UsageError, PixelBox; print('numpy' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False"]
