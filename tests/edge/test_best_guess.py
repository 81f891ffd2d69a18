"""A name is said to be there only above a confidence; impossible sizes and unknown kinds of image are said."""

from dataclasses import replace
from types import SimpleNamespace

import pydicom
import pytest

from medrega_edge.answer import LIKELY, SURE, ImageFacts, Region
from medrega_edge.boxes import PixelBox
from medrega_edge.domain import Language
from medrega_edge.i18n.message import Message
from medrega_edge.package.manifest import Manifest
from medrega_edge.tasks.detection import Detect
from medrega_edge.tasks.sizes import impossible_size

BOX = PixelBox(0, 0, 100, 50)
IMAGE = ImageFacts(None, 1000, 1000, None, None, None, "0", spacing_mm=(1.0, 1.0))


def test_what_is_not_likely_is_a_best_guess(engine, scan):
    sure = engine.detect(scan, ["liver", "spleen"], "en")
    assert Message("answer.best_guess", names=["liver"]).text(Language.EN) not in sure.text
    low = replace(
        sure, regions=tuple(replace(each, confidence=LIKELY - 0.01) for each in sure.regions if each.label == "liver")
    )
    low = replace(low, text="The liver is here. There is no spleen in this image.")
    assert Detect("liver").finish(low).text == "Best guess, which may be wrong: liver. There is no spleen in this image."
    chinese = replace(low, language=Language.ZH, regions=(Region("肝脏", BOX, 0.1),), text="肝脏在这里。")
    assert Detect("liver").finish(chinese).text == "最佳猜测，可能不对：肝脏。"
    certain = replace(low, regions=(Region("liver", BOX, SURE), Region("liver", BOX, 0.1)))
    assert Detect("liver").finish(certain).text == low.text
    probable = replace(low, regions=(Region("liver", BOX, LIKELY), Region("liver", BOX, 0.1)))
    assert Detect("liver").finish(probable).text == "Probably here: liver. There is no spleen in this image."
    other = replace(certain, warnings=(Message("task.other_class", name="liver", classes=("glioma",)),))
    assert Detect("liver").finish(other).text.startswith("Best guess")


def test_a_confidence_is_that_of_the_label_in_such_images(engine, scan, monkeypatch):
    found = {}
    for name, shifts in (
        ("none", {}),
        ("label", {"mri": {"": 9.0, "liver": -1.0}}),
        ("kind", {"mri": {"": -1.0}}),
        ("other", {"ct": {"": -1.0}}),
    ):
        manifest = replace(engine.package.manifest, calibration_shifts=shifts)
        assert Manifest.from_json(manifest.to_json()) == manifest
        monkeypatch.setattr(engine._region_maker, "_package", SimpleNamespace(manifest=manifest))
        found[name] = engine.detect(scan, ["肝脏"]).regions[0].confidence
    assert found["label"] == found["kind"] < found["none"] == found["other"]


@pytest.mark.parametrize(
    ("label", "side", "is_possible"),
    [("liver", 390, True), ("liver", 556, False), ("left kidney", 410, False), (None, 590, True)],
)
def test_sizes_that_no_body_has_are_said(label, side, is_possible):
    region = Region("?", PixelBox(10, 10, 20, 10 + side), 0.9)
    found = impossible_size(region, label, IMAGE)
    assert found == (None if is_possible else Message("task.impossible_size", name="?", width=10.0, height=float(side)))
    assert impossible_size(region, label, replace(IMAGE, spacing_mm=None)) is None


@pytest.mark.parametrize(("modality", "is_said"), [("PT", True), ("NM", True), ("MR", False), ("SMITH", False)])
def test_a_kind_that_the_program_does_not_know_is_said(engine, tmp_path, modality, is_said):
    from medrega_edge.images.samples import sample_path

    dataset = pydicom.dcmread(sample_path("abdomen-mri"))
    dataset.Modality = modality
    dataset.save_as(tmp_path / "other.dcm")
    image = engine.open(tmp_path / "other.dcm")
    assert (Message("dicom.other_kind", kind=modality) in image.image.warnings) is is_said
