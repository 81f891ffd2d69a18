"""What the soak sends: variations of a few images, each with UIDs of its own, and what has to become of each."""

import io
import random
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from pathlib import Path

import numpy as np
import pydicom
from pydicom import dcmread
from pydicom.uid import generate_uid

from medrega_edge.images.samples import sample_path

PATIENT = "Soakpatient"  # in the name and the number of each patient; no line of a log may hold it
TEST_FILES = Path(pydicom.__file__).parent / "data" / "test_files"
LARGEST_STUDY = 40
SENT_AGAIN, SENT_CHANGED, SENT_TWICE_AT_ONCE = 0.06, 0.04, 0.1  # shares of the instances; the last one of the studies


class Fate(Enum):
    """What the node has to make of an instance."""

    ANSWERED = "answered"
    UNMATCHED = "unmatched"  # acknowledged, and no rule asks about it
    REJECTED = "rejected"  # acknowledged, and a dead letter
    REFUSED = "refused"  # never acknowledged


@dataclass(frozen=True)
class Kind:
    """A kind of instance: its share, its fate, and the status of a refusal or the reason of a dead letter."""

    share: float
    file: str
    fate: Fate
    results: int = 0
    status: int = 0x0000
    reason: str = ""


KINDS = {
    "scan": Kind(0.58, "", Fate.ANSWERED, results=1),  # the sample MRI
    "small MR": Kind(0.16, "MR_small.dcm", Fate.ANSWERED, results=1),
    "CT": Kind(0.14, "CT_small.dcm", Fate.ANSWERED, results=2),
    "photograph": Kind(0.04, "SC_rgb_small_odd.dcm", Fate.UNMATCHED),  # of a modality that no rule names
    "plan": Kind(0.02, "rtplan.dcm", Fate.UNMATCHED),  # no image
    "cut pixels": Kind(0.03, "MR_small.dcm", Fate.REJECTED, reason="dicom.fewer_bytes"),
    "no study": Kind(0.03, "CT_small.dcm", Fate.REFUSED, status=0xA900),
}


@dataclass(frozen=True)
class Source:
    """An instance to send. The same source makes the same data set each time."""

    number: int
    kind: str
    study_uid: str
    series_uid: str
    sop_uid: str

    @property
    def fate(self) -> Fate:
        return KINDS[self.kind].fate

    @property
    def results(self) -> int:
        """How many objects have to come of it."""
        return KINDS[self.kind].results

    def dataset(self, changed=False):
        """The data set; `changed` has other pixels under the same UID."""
        dataset = dcmread(io.BytesIO(_file(KINDS[self.kind].file)))
        dataset.PatientName, dataset.PatientID = f"{PATIENT}^{self.number}", f"{PATIENT}{self.number}"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = self.study_uid, self.series_uid
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = self.sop_uid
        dataset.InstanceNumber = self.number
        if "PixelData" in dataset:
            values = np.frombuffer(dataset.PixelData, "u1")
            shift = (dataset.BitsAllocated // 8) * (7 * self.number + 3 * changed)
            dataset.PixelData = np.roll(values, shift).tobytes()
        elif changed:
            dataset.RTPlanLabel = "changed"
        if self.kind == "cut pixels":
            dataset.PixelData = dataset.PixelData[: len(dataset.PixelData) // 2]
        if self.kind == "no study":
            del dataset.StudyInstanceUID
        return dataset


@dataclass(frozen=True)
class Sending:
    """One act of sending an instance, and the status that ends it."""

    source: Source
    status: int
    changed: bool = False


@dataclass
class Study:
    """What a sender sends one after the other, each until it has its status."""

    sendings: list[Sending] = field(default_factory=list)


@cache
def _file(name):
    return (sample_path("abdomen-mri") if not name else TEST_FILES / name).read_bytes()


def sources_of(count, seed):
    """Return so many sources in studies of various sizes; each kind is there, however few there are."""
    dice = random.Random(seed)
    kinds = [kind for kind, about in KINDS.items() for _ in range(max(1, round(about.share * count)))]
    kinds += ["scan"] * (count - len(kinds))
    dice.shuffle(kinds)
    kinds = kinds[:count] if len(set(kinds[:count])) == len(KINDS) else sorted(kinds, key="scan".__eq__)[:count]
    made = []
    while len(made) < count:
        study = _uid(seed, "study", len(made))
        size = min(count - len(made), dice.choice((1, 1, 2, 3, 5, 8, 13, 20, LARGEST_STUDY)))
        for position in range(size):
            number = len(made)
            series = _uid(seed, study, kinds[number], position // 10)
            made.append(Source(number, kinds[number], study, series, _uid(seed, "instance", number)))
    return made


def studies_of(sources, seed):
    """Return what to send of the sources, study by study: some of it again, some with other pixels, some at once twice."""
    dice = random.Random(seed + 1)
    by_study = {}
    for source in sources:
        by_study.setdefault(source.study_uid, []).append(source)
    studies = []
    for members in by_study.values():
        study = Study()
        for source in members:
            status = KINDS[source.kind].status
            study.sendings.append(Sending(source, status))
            if status == 0x0000 and dice.random() < SENT_AGAIN:
                study.sendings.append(Sending(source, status))
            if status == 0x0000 and source.kind != "photograph" and dice.random() < SENT_CHANGED:
                study.sendings.append(Sending(source, 0x0111, changed=True))
        studies.append(study)
        if dice.random() < SENT_TWICE_AT_ONCE:
            studies.append(Study([each for each in study.sendings if not each.changed]))
    return studies


def _uid(*parts):
    return generate_uid(entropy_srcs=[str(part) for part in parts])
