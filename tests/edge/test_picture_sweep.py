"""The pictures of pydicom's and nibabel's own test files beside independent references: tools/picture_sweep.py."""

import pytest

pytestmark = pytest.mark.slow  # seconds: the fast tests have a minute

pytest.importorskip("nibabel")
from tools.picture_sweep import sweep

REFUSED = {  # and those with a side below 16 pixels
    "JPEG-lossy.dcm": "dicom.cannot_decode",  # pydicom's decoders refuse it too
    "JPEG2000-embedded-sequence-delimiter.dcm": "dicom.differing_sizes",  # a damaged stream
    "MR_truncated.dcm": "dicom.fewer_bytes",
    "badVR.dcm": "dicom.damaged",  # the number of its frames is "1A"
    "meta_missing_tsyntax.dcm": "dicom.no_picture",
    "nested_priv_SQ.dcm": "dicom.no_picture",
    "resampled_anat_moved.nii, axial 1, time 0": "image.not_a_number",
}


def assert_as_references(verdicts, count):
    assert [verdict for verdict in verdicts if verdict.kind not in ("equal", "refused")] == []
    refused = {verdict.picture: verdict.detail for verdict in verdicts if verdict.kind == "refused"}
    assert {name: code for name, code in refused.items() if code != "image.too_small"} == REFUSED
    assert sum(verdict.kind == "equal" for verdict in verdicts) >= count


def test_pictures_of_the_test_files_are_those_of_the_references():
    assert_as_references(sweep("files"), 300)


@pytest.mark.slow
def test_the_same_pictures_in_other_transfer_syntaxes_are_the_same():
    assert_as_references(sweep("variants"), 850)
