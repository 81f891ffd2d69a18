"""Which rule asks about which instances: the first that fits, one job a picture or a volume, and never our own results."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from medrega_edge.domain import MANUFACTURER, NOTICE
from medrega_edge.node.config import Rule
from medrega_edge.node.records import Instance
from medrega_edge.node.rules import LeftOut, jobs_of, plan_of
from tests.edge.dicoms import dicom

MR, CT = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.2"
SR, RAW = "1.2.840.10008.5.1.4.1.1.88.33", "1.2.840.10008.5.1.4.1.1.66"
pixels = np.random.default_rng(0).integers(0, 255, (32, 32), dtype=np.uint8)
LIVER = Rule("liver", ("pacs",), ("MR", "CT"), question="locate the liver")


class Study:
    """Files of a study, as the queue holds them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0

    def instance(self, modality="MR", body_part="", description="", series="2.25.7", sop_class=MR, data=None, **tags):
        self.count += 1
        path = self.folder / f"{self.count}.dcm"
        uid = f"2.25.100{self.count}"
        path.write_bytes(data or dicom(pixels, kind=sop_class, Modality=modality, SOPInstanceUID=uid, **tags))
        return Instance(uid, sop_class, "2.25.1", series, modality, body_part, description, "0" * 64, path, "ct1")


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path)


def asked(instances, *rules):
    """The numbers of the instances of each job, after the name of its rule."""
    return [(job.rule, [instances.index(one) for one in job.instances]) for job in jobs_of(instances, rules)]


def counts(instances, *rules):
    return {reason.value: count for reason, count in plan_of(instances, rules).left_out.items()}


def test_the_first_rule_that_fits_wins(study):
    instances = [study.instance(), study.instance("CT", sop_class=CT), study.instance("DX")]
    spleen = dataclasses.replace(LIVER, name="spleen", modality=())
    assert asked(instances, LIVER, spleen) == [("liver", [0]), ("liver", [1]), ("spleen", [2])]
    assert asked(instances, spleen, LIVER) == [("spleen", [0]), ("spleen", [1]), ("spleen", [2])]


@pytest.mark.parametrize(
    ("rule", "fits"),
    [
        ({"modality": ("MR",)}, True),
        ({"modality": ("mr", "CT")}, True),
        ({"modality": ("CT",)}, False),
        ({"modality": ()}, True),
        ({"body_part": ("abdomen",)}, True),
        ({"body_part": ("LIVER",)}, False),
        ({"description": "t1.*portal"}, True),
        ({"description": "^portal"}, False),
        ({"description": ""}, True),
        ({"modality": ("MR",), "body_part": ("ABDOMEN",), "description": "T2"}, False),
    ],
)
def test_what_a_rule_fits(study, rule, fits):
    instance = study.instance("MR", "ABDOMEN", "T1 VIBE portal venous")
    named = dataclasses.replace(LIVER, **{"modality": (), **rule})
    assert asked([instance], named) == ([("liver", [0])] if fits else [])
    assert counts([instance], named) == {"own": 0, "no_image": 0, "no_rule": 0 if fits else 1}


def test_a_volume_is_one_job_of_its_series_and_other_rules_ask_picture_by_picture(study):
    instances = [study.instance(series=uid) for uid in ("2.25.7", "2.25.8", "2.25.7")] + [study.instance("CT", sop_class=CT)]
    volume = dataclasses.replace(LIVER, name="whole", modality=("MR",), volume=True)
    assert asked(instances, volume, LIVER) == [("liver", [3]), ("whole", [0, 2]), ("whole", [1])]


def test_late_slices_are_asked_together_with_those_that_came_before(study):
    volume = dataclasses.replace(LIVER, volume=True)
    earlier = [study.instance(), study.instance(), study.instance(series="2.25.8"), study.instance("SR", sop_class=SR)]
    late = [study.instance()]
    (job,) = plan_of(late, [volume], earlier).jobs
    assert job.instances == (earlier[0], earlier[1], late[0])
    (job,) = plan_of(late, [LIVER], earlier).jobs  # a picture is whole by itself
    assert job.instances == (late[0],)


def test_what_is_no_image_is_counted_and_not_asked(study):
    instances = [
        study.instance("SR", sop_class=SR, PixelData=None, Rows=None),
        study.instance("PR"),
        study.instance("SEG"),
        study.instance("DOC"),
        study.instance("RTDOSE"),
        study.instance("MR", sop_class=RAW, Rows=None, Columns=None, PixelData=None),
    ]
    any_modality = dataclasses.replace(LIVER, modality=())
    assert asked(instances, any_modality) == []
    assert counts(instances, any_modality) == {"own": 0, "no_image": len(instances), "no_rule": 0}


def test_a_damaged_image_is_asked_so_that_somebody_is_told(study):
    instances = [study.instance(data=b"\0" * 128 + b"DICM" + b"\xff" * 40), study.instance(Rows=None)]
    assert asked(instances, LIVER) == [("liver", [0]), ("liver", [1])]


def test_own_results_are_never_asked_again(study):
    instances = [
        study.instance("OT", Manufacturer=MANUFACTURER),  # a secondary capture
        study.instance("MR", Manufacturer=MANUFACTURER),
        study.instance("SR", Manufacturer=MANUFACTURER),
        study.instance("MR", Manufacturer="SIEMENS"),
    ]
    any_modality = dataclasses.replace(LIVER, modality=())
    assert asked(instances, any_modality) == [("liver", [3])]
    instances += [study.instance("OT", description=f"AI picture (SC). {NOTICE}", Manufacturer="Archive")]
    assert asked(instances, any_modality) == [("liver", [3])]
    assert counts(instances, any_modality) == {LeftOut.OWN.value: 4, "no_image": 0, "no_rule": 0}
