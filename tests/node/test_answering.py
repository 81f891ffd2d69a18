"""One job -> objects: an instance, the frames of a file, a series as volume. The engine is a stand-in without a model."""

import dataclasses
import io

import numpy as np
import pydicom
import pytest

pytest.importorskip("highdicom")

from medrega_edge.answer import Region
from medrega_edge.boxes import PixelBox
from medrega_edge.domain import MANUFACTURER
from medrega_edge.errors import ImageError, InternalError, MedregaError, ResourceError, UsageError
from medrega_edge.images.dicom.series import LeftOut, scan_folder
from medrega_edge.images.medical_image import View
from medrega_edge.images.reader import read_image
from medrega_edge.masks import Mask
from medrega_edge.node import rules
from medrega_edge.node.answering import answered
from medrega_edge.node.config import Rule
from medrega_edge.node.records import Instance
from medrega_edge.vocabulary.terminology import Terminology
from tests.codes import raises_code
from tests.edge.dicoms import dicom
from tests.edge.stub import StubEngine
from tests.edge.test_output_dicom import STUDY, find
from tests.edge.test_series import AXIAL

MR, ENHANCED = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"
LIVER = Rule("liver", ("pacs",), question="locate the liver", outputs=("sr", "gsps", "sc"))
pixels = np.random.default_rng(0).integers(1, 200, (6, 40, 50), dtype=np.uint8)


class Seeing(StubEngine):
    """Sees a liver where the first pixel is 255, with a mask where one is asked for."""

    has_masks = True

    def run(self, image, task, language="en", **options):
        answer = super().run(image, task, language)
        self.options = options
        picture = image.image
        if picture.pixels[0, 0, 0] < 255:
            return dataclasses.replace(answer, regions=(), searched=("liver",))
        inside = np.zeros((picture.height, picture.width), bool)
        inside[5:9, 4:12] = True
        mask = Mask.of(inside, 0.9) if task.wants_masks else None
        return dataclasses.replace(answer, regions=(Region("liver", PixelBox(4.0, 5.0, 12.0, 9.0), 0.95, mask),))

    def with_masks(self, image, regions):
        inside = np.zeros((image.image.height, image.image.width), bool)
        inside[5:9, 4:12] = True
        return tuple(dataclasses.replace(region, mask=Mask.of(inside, 0.9)) for region in regions), []

    terminology = Terminology((("liver", "肝脏"),), {})


def shown(values, sees=True):
    values = values.copy()
    values[..., 0, 0] = 255 if sees else 0
    return values


def stored(folder, data, number=0):
    path = folder / f"{number}.dcm"
    path.write_bytes(data)
    header = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True)
    uids = (header.SOPInstanceUID, header.SOPClassUID, header.StudyInstanceUID, header.SeriesInstanceUID)
    return Instance(*map(str, uids), header.Modality, "", "", "0" * 64, path, "ct1")


def read(objects):
    return [pydicom.dcmread(io.BytesIO(one.data)) for one in objects]


def warnings_of(report):
    """The texts that the report has under the code of a warning."""
    items = [item for item in report.iterall() if item.keyword == "ConceptNameCodeSequence"]
    assert items
    return [
        item.TextValue
        for container in report.ContentSequence
        for item in container.get("ContentSequence", ())
        if item.ConceptNameCodeSequence[0].CodeValue == "warning"
    ]


def test_one_instance_gives_each_object_of_the_rule_once(tmp_path):
    instance = stored(tmp_path, dicom(shown(pixels[0]), kind=MR, **STUDY))
    made = answered(Seeing(), [instance], LIVER, "en")
    assert [one.kind for one in made] == ["sr", "gsps", "sc"]
    for one, dataset in zip(made, read(made), strict=True):
        assert (one.sop_uid, one.sop_class) == (dataset.SOPInstanceUID, dataset.SOPClassUID)
        assert dataset.StudyInstanceUID == "2.25.1"
        assert instance.sop_uid in find(dataset, "ReferencedSOPInstanceUID")
    report = read(made)[0]
    assert "locate the liver" in find(report, "TextValue")  # what was asked, and what was answered
    assert len({one.sop_uid for one in made} | {one.SeriesInstanceUID for one in read(made)}) == 6


def test_the_rule_says_in_which_language_and_how_sure(tmp_path):
    instance = stored(tmp_path, dicom(shown(pixels[0]), kind=MR, **STUDY))
    engine = Seeing()
    answered(engine, [instance], dataclasses.replace(LIVER, min_confidence=0.8), "zh")
    assert engine.options == {"min_confidence": 0.8}


def test_a_segmentation_comes_with_masks_and_not_without(tmp_path):
    rule = dataclasses.replace(LIVER, question="", segment=("liver",), outputs=("sr", "seg"))
    seen = stored(tmp_path, dicom(shown(pixels[0]), kind=MR, **STUDY))
    report, masks = read(answered(Seeing(), [seen], rule, "en"))
    assert masks.Modality == "SEG"
    # One finding has one name and one number in all objects.
    assert find(masks, "TrackingUID") == [uid for uid in find(report, "UID") if uid in find(masks, "TrackingUID")]
    unseen = stored(tmp_path, dicom(shown(pixels[0], sees=False), kind=MR, **STUDY), 1)
    assert [one.kind for one in answered(Seeing(), [unseen], rule, "en")] == ["sr"]
    assert answered(Seeing(), [unseen], dataclasses.replace(rule, outputs=("seg",)), "en") == []
    with raises_code(UsageError, "output.no_mask_for_seg"):  # a question for boxes never has a mask
        answered(Seeing(), [seen], dataclasses.replace(LIVER, outputs=("seg",)), "en")


def frames(folder, seen):
    values = np.stack([shown(frame, number in seen) for number, frame in enumerate(pixels)])
    return stored(folder, dicom(values, kind=ENHANCED, **STUDY))


def test_every_frame_is_asked_and_those_with_a_region_get_objects(tmp_path):
    engine = Seeing()
    made = read(answered(engine, [frames(tmp_path, {1, 4})], LIVER, "en"))
    assert engine.asked == 6
    assert [one.Modality for one in made] == ["SR", "PR", "OT"] * 2
    assert [set(find(one, "ReferencedFrameNumber")) for one in made] == [{2}] * 3 + [{5}] * 3
    # The objects of a kind are one series.
    assert len({one.SeriesInstanceUID for one in made}) == 3
    assert [one.InstanceNumber for one in made] == [10_002] * 3 + [10_005] * 3  # instance 1, frames 2 and 5
    assert "all 6 frames of the file were asked; results are about the 2 with a region" in warnings_of(made[0])


def test_frames_without_any_region_are_told_by_the_middle_one(tmp_path):
    made = read(answered(Seeing(), [frames(tmp_path, ())], LIVER, "en"))
    assert [one.Modality for one in made] == ["SR", "PR", "OT"]
    assert set(find(made[0], "ReferencedFrameNumber")) == {4}
    assert "all 6 frames of the file were asked, and none has a region; this is the middle one" in warnings_of(made[0])
    assert "not-found" in find(made[0], "CodeValue")


def test_frames_have_no_segmentation_and_the_report_says_so(tmp_path):
    rule = dataclasses.replace(LIVER, question="", segment=("liver",), outputs=("sr", "seg"))
    made = read(answered(Seeing(), [frames(tmp_path, {2})], rule, "en"))
    assert [one.Modality for one in made] == ["SR"]
    assert any("segmentation" in warning for warning in warnings_of(made[0]))
    with raises_code(UsageError, "output.seg_of_frames"):
        answered(Seeing(), [frames(tmp_path, {2})], dataclasses.replace(rule, outputs=("seg",)), "en")


def series(folder, seen):
    instances = []
    for number in range(6):
        place = {"ImageOrientationPatient": list(AXIAL), "ImagePositionPatient": [0, 0, 2.5 * number]}
        spacing = {"PixelSpacing": ["1", "1"], "SOPInstanceUID": f"2.25.55{number}", "SliceThickness": "2.5"}
        data = dicom(shown(pixels[number], number in seen), kind=MR, **STUDY | place | spacing)
        instances.append(stored(folder, data, number))
    return instances


WHOLE = dataclasses.replace(LIVER, question="", segment=("liver",), volume=True, outputs=("sr", "seg"))


def test_a_series_as_volume_gets_one_report_and_one_segmentation(tmp_path):
    instances = series(tmp_path, {2, 3, 4})
    (tmp_path / "other.dcm").write_bytes(dicom(pixels[0], kind=MR, **STUDY | {"SeriesInstanceUID": "2.25.99"}))
    report, masks = read(answered(Seeing(), instances, WHOLE, "en"))
    assert (report.Modality, masks.Modality) == ("SR", "SEG")
    assert masks.SegmentSequence[0].TrackingUID in find(report, "UID")
    assert {item.ReferencedSOPInstanceUID for item in masks.ReferencedSeriesSequence[0].ReferencedInstanceSequence} == {
        f"2.25.55{number}" for number in (2, 3, 4)
    }
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    (evidence,) = study.ReferencedSeriesSequence  # every slice was asked, so every one is evidence
    assert len(evidence.ReferencedSOPSequence) == 6


def test_a_volume_is_refused_where_slices_are_gone_or_the_rule_is_about_pictures(tmp_path):
    instances = series(tmp_path, {2, 3})
    with raises_code(UsageError, "volume.objects", name="pdf"):
        answered(Seeing(), instances, dataclasses.replace(WHOLE, outputs=("sr", "pdf")), "en")
    with raises_code(UsageError, "node.volume_min_confidence"):
        answered(Seeing(), instances, dataclasses.replace(WHOLE, min_confidence=0.5), "en")
    with raises_code(ImageError, "volume.single_slice"):
        answered(Seeing(), instances[:1], WHOLE, "en")
    instances[3].path.unlink()
    with raises_code(ImageError, "node.slices_gone", count=1):
        answered(Seeing(), instances, WHOLE, "en")


@pytest.mark.parametrize(
    ("fault", "error"),
    [(MemoryError(), ResourceError), (ValueError("Doe^Jane"), InternalError), (ImageError("image.no_file"), ImageError)],
)
def test_whatever_goes_wrong_is_one_of_our_errors_without_a_word_of_the_patient(tmp_path, fault, error):
    class Broken(Seeing):
        def run(self, *_, **__):
            raise fault

    with pytest.raises(error) as caught:
        answered(Broken(), [stored(tmp_path, dicom(pixels[0], kind=MR, **STUDY))], LIVER, "en")
    assert isinstance(caught.value, MedregaError)
    assert "Doe" not in str(caught.value)


def test_every_object_that_comes_back_is_left_alone(tmp_path):
    """What the node made, received again: no rule, no folder, no question about it goes on."""
    pytest.importorskip("reportlab", reason="a PDF needs the extra [pacs]")
    (tmp_path / "in").mkdir()
    (tmp_path / "back").mkdir()
    rule = dataclasses.replace(LIVER, question="", segment=("liver",), outputs=("sr", "gsps", "sc", "seg", "pdf"))
    made = answered(Seeing(), [stored(tmp_path / "in", dicom(shown(pixels[0]), kind=MR, **STUDY))], rule, "en")
    assert len(made) == 5
    back = [stored(tmp_path / "back", one.data, number) for number, one in enumerate(made)]
    plan = rules.plan_of(back, [dataclasses.replace(LIVER, modality=())])
    assert plan.jobs == ()
    assert plan.left_out[rules.LeftOut.OWN] == 5
    scan = scan_folder(tmp_path / "back", [one.path.name for one in back])
    assert scan.series == () and len(scan.left_out[LeftOut.OWN]) == 5
    for one, dataset in zip(back, read(made), strict=True):
        assert dataset.Manufacturer == MANUFACTURER
        try:
            image = read_image(one.path, View())
        except ImageError:
            continue
        assert "dicom.own_result" in [warning.code for warning in image.warnings], dataset.Modality


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_default_package_answers_the_sample(engine, tmp_path, language):
    pytest.importorskip("reportlab", reason="a PDF needs the extra [pacs]")
    from medrega_edge.images.samples import sample_path

    data = sample_path("abdomen-mri").read_bytes()
    rule = dataclasses.replace(LIVER, question="", segment=("liver", "spleen"), outputs=("sr", "gsps", "sc", "seg", "pdf"))
    made = answered(engine, [stored(tmp_path, data)], rule, language)
    assert [one.kind for one in made] == list(rule.outputs)
    report, state, _, masks, page = read(made)
    reported = [uid for uid in find(report, "UID") if uid.startswith("2.25.")]
    for numbers in (find(masks, "TrackingUID"), find(state, "TrackingUID")):
        assert numbers and set(numbers) <= set(reported)
    assert page.EncapsulatedDocument.startswith(b"%PDF-")
    assert {"en": "liver", "zh": "肝脏"}[language] in find(report, "TextValue")


def test_objects_about_the_slices_of_a_series_stand_in_one_series(tmp_path):
    def made(number, rule=LIVER, language="en", **tags):
        names = {"InstanceNumber": str(number), "SOPInstanceUID": f"2.25.55{number}"}
        instance = stored(tmp_path, dicom(shown(pixels[0]), kind=MR, **STUDY | names | tags), number)
        return read(answered(Seeing(), [instance], rule, language))

    first, second = made(3), made(8)
    assert [one.SeriesInstanceUID for one in first] == [one.SeriesInstanceUID for one in second]
    assert len({one.SeriesInstanceUID for one in first}) == 3
    assert [one.SeriesNumber for one in first] == [one.SeriesNumber for one in second] == [7000, 7001, 7002]
    assert [(one.InstanceNumber, other.InstanceNumber) for one, other in zip(first, second, strict=True)] == [(3, 8)] * 3
    assert len({one.SOPInstanceUID for one in (*first, *second, *made(3))}) == 9
    others = [
        made(3, SeriesInstanceUID="2.25.77"),
        made(3, StudyInstanceUID="2.25.78"),
        made(3, dataclasses.replace(LIVER, name="again")),
        made(3, dataclasses.replace(LIVER, question="locate the spleen")),
        made(3, language="zh"),
    ]
    assert len({objects[0].SeriesInstanceUID for objects in (first, *others)}) == 6
    (report,) = made(3, dataclasses.replace(LIVER, outputs=("sr",)))  # other outputs beside it change nothing
    assert report.SeriesInstanceUID == first[0].SeriesInstanceUID
    assert made(4, InstanceNumber="")[0].InstanceNumber == 1
