"""The node's conformance statement is the program's."""

import pytest

pytest.importorskip("pynetdicom", reason="the node needs the extra [pacs]")

from tools import node_conformance


def test_the_tables_are_what_the_program_does():
    assert node_conformance.PAGE.read_text("utf-8") == node_conformance.page(), "run: python -m tools.node_conformance"


def test_every_object_is_of_a_class_that_is_stated(tmp_path):
    pytest.importorskip("highdicom")
    pytest.importorskip("reportlab")
    from medrega_edge.output.dicom.writer import SOP_CLASSES
    from tests.edge.test_output_dicom import SCANS, written_about

    for name in ("grey", "colour"):
        scan = tmp_path / f"{name}.dcm"
        scan.write_bytes(SCANS[name])
        (tmp_path / name).mkdir()
        _, _, made = written_about(scan, tmp_path / name, (), kinds=("sr", "gsps", "sc", "pdf"))
        for kind, one in made.items():
            assert one.SOPClassUID in SOP_CLASSES[kind]
