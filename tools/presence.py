"""How often a package draws a box for a name that an image cannot show, and denies a name that it certainly shows.

    python -m tools.presence --data ../shared/data --each 6

Impossible are the names that no image of the modality can show. Certain are the annotated names, however many boxes they
have, and the wholes of annotated parts: the heart around a ventricle, the vertebrae of a spine.

    python -m tools.presence --data ../shared/data --split val --fit

chooses on val from which confidence on a name counts as there, and writes `medrega_edge/vocabulary/presence.json`. The floor
is the highest at which no more than 2 % of the annotated names fall below it. A finding is stated from the confidence on at
which four of five such statements are right, and never where val cannot show that: three right ones are the least.
"""

import argparse
import json
import sys
from collections import Counter, defaultdict
from pathlib import Path
from unittest import mock

import numpy as np

from medrega_edge.answer import LIKELY
from medrega_edge.domain import Language, Modality
from medrega_edge.engine import load
from medrega_edge.evaluation.questions import spread
from medrega_edge.evaluation.records import read_records
from medrega_edge.prompts.templates import PromptBook
from medrega_edge.tasks.classes import CERTAIN_CLASS, decide, other_class, unfamiliar_classes
from medrega_edge.tasks.presence import look_for
from medrega_edge.vocabulary import presence
from medrega_edge.vocabulary.body_parts import can_hold, holds_any
from medrega_edge.vocabulary.label_kinds import is_finding
from medrega_edge.vocabulary.label_sets import LABEL_SETS
from medrega_train.label_modalities import modalities_of_labels
from medrega_train.records import implied, split_of


def measure(engine, pairs):
    """Ask for each name in its image; returns how many names there are, and how many got a box, by modality and name."""
    counts = Counter()
    image, opened = None, None
    for record, name in pairs:
        if record.image != image:
            image, opened = record.image, engine.open(record.image)
        has_box = bool(engine.detect(opened, [name], "en").regions)
        for group in ("all", record.modality.value, name):
            counts.update({(group, "names"): 1, (group, "boxes"): has_box})
    groups = sorted({group for group, _ in counts})
    return {group: {what: counts[group, what] for what in ("names", "boxes")} for group in groups}


TABLE = Path(__file__).parents[1] / "medrega_edge" / "vocabulary" / "presence.json"
FEWEST = 8  # images with a finding that is in all of them
KNOWN_FROM = 3  # training images of a kind with boxes of a name
PRECISION = 0.8  # of a stated finding, among these images, and as if there were as many with it as without
HITS = 3  # images in which it is rightly stated
DENIED = 0.02  # share of annotated names that may fall below the floor
CLASS_STEPS = (CERTAIN_CLASS, 0.9, 0.95, 0.98)
STEPS = (0.6, 0.7, 0.8, 0.9, 0.95)
FLOORS = (0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1)


def known_names(records, labels):
    """Return the names with boxes in enough training images, by kind of image."""
    images = defaultdict(Counter)
    for record in records:
        images[record.modality.value].update({region.label_en for region in record.targets} & labels)
    return {kind: sorted(n for n, count in names.items() if count >= KNOWN_FROM) for kind, names in sorted(images.items())}


def confidences(engine, records, known):
    """Look for all known findings and all annotated names.

    Yields kind, name, whether it is annotated, its confidence, and whether it is a best guess whatever that is.

    An image without a finding counts only where its body part is certain, can hold the finding, and holds what is annotated.
    """
    for record in records:
        image = engine.open(record.image)
        context = engine.context(image, Language.EN)
        part, shown = context.certain_part(), {region.label_en for region in record.targets}
        findings = {name for name in known[record.modality.value] if is_finding(name)}
        fits = part is not None and all(can_hold(part, name) for name in shown)
        for name in context.terminology.labels:
            is_candidate = name[0] in findings and fits and can_hold(part, name[0])
            if name[0] in shown or is_candidate:
                is_guess = (
                    context.is_unfamiliar() or context.is_unfamiliar_name(name[0]) or bool(other_class(context, name[0]))
                )
                yield record.modality.value, name[0], name[0] in shown, look_for(context, name).confidence, is_guess


def class_cases(engine, records):
    """Decide all classes of all images; yields kind, class, its probability, and whether the image is labelled with it.

    Images of other data sets count as wrong, too: "tuberculosis" of a pneumonia. An image with a class of another set for
    such images is left out, because two names may mean the same. So is an unfamiliar class, because it is never stated.
    """
    for record in records:
        context = engine.context(engine.open(record.image), Language.EN)
        part = context.certain_part()
        for label_set in LABEL_SETS.values():
            fits = record.modality in label_set.modalities
            if not fits or context.is_unfamiliar() or (part and label_set.parts and not holds_any(part, label_set.parts)):
                continue
            decision, own = decide(context, label_set), {english for english, _ in label_set.labels} & set(record.labels)
            others = [
                each for each in LABEL_SETS.values() if each.modalities == label_set.modalities and each is not label_set
            ]
            is_of_other = any(each.right(record.labels, record.modality) for each in others)
            if (is_of_other and not own) or unfamiliar_classes(context, label_set, decision.chosen):
                continue
            for index in decision.chosen:
                english = label_set.labels[index][0]
                yield record.modality.value, english, decision.probability, english in own


def measure_classes(cases):
    """Return how many classes are stated and right: those from CERTAIN_CLASS on, and those that val proves."""
    counts = {"from_certain_class": Counter(), "proven": Counter()}
    for kind, english, probability, is_right in cases:
        for rule, least in (("from_certain_class", CERTAIN_CLASS), ("proven", presence.class_from(Modality(kind), english))):
            if probability >= max(CERTAIN_CLASS, least):
                counts[rule].update(stated=1, right=is_right)
    return {rule: dict(count) for rule, count in counts.items()}


def fit_classes(cases):
    """Return by kind and class from which probability on it is stated, None for never."""
    groups = defaultdict(list)
    for kind, english, probability, is_right in cases:
        groups[kind, english].append((probability, is_right))
    table = defaultdict(dict)
    for (kind, english), group in sorted(groups.items()):
        right = {step: [each for probability, each in group if probability >= step] for step in CLASS_STEPS}
        proven = (step for step, told in right.items() if sum(told) >= HITS and np.mean(told) >= PRECISION)
        table[kind][english] = next(proven, None)
    return table


def fit(cases):
    """Return the floor, and by kind and name from which confidence on a finding is stated, None for never."""
    groups, annotated = defaultdict(lambda: {True: [], False: []}), []
    for kind, name, is_shown, confidence, is_guess in cases:
        annotated += [confidence] if is_shown else []
        if is_finding(name) and not is_guess:
            groups[kind, name][is_shown].append(confidence)
    floor = max(each for each in FLOORS if np.mean(np.array(annotated) < each) <= DENIED or each == FLOORS[0])
    certain = defaultdict(dict)
    for (kind, name), group in sorted(groups.items()):
        certain[kind][name] = _certain_from(np.array(group[True]), np.array(group[False]))
    return floor, certain


def _certain_from(present, absent):
    if not len(absent):
        return LIKELY if len(present) >= FEWEST else None
    for step in (LIKELY, *STEPS):
        hits, alarms = (present >= step).sum(), (absent >= step).sum()
        share, false = (hits + 0.5) / (len(present) + 1), (alarms + 0.5) / (len(absent) + 1)
        if hits >= HITS and min(hits / (hits + alarms), share / (share + false)) >= PRECISION:
            return step
    return None


def write_table(engine, records, split):
    """Fit on a split and write the table."""
    labels = {english for english, _ in engine.terminology.labels}
    known = known_names(split_of(records, "train"), labels)
    judged = [record for record in records if record.split == split and not record.dup_of_eval]
    classes = fit_classes(class_cases(engine, judged))
    proven = mock.patch.dict(presence._table(), classes=classes)  # a name of another class is a guess
    with proven, mock.patch("medrega_edge.tasks.detection.floor", lambda: 0.0):
        floor, certain = fit(list(confidences(engine, judged, known)))
    table = {"floor": floor, "certain_from": certain, "classes": classes, "known": known}
    TABLE.write_text(json.dumps(table, indent=1) + "\n", "utf-8")
    sys.stdout.write(json.dumps({"floor": floor, "certain_from": certain, "classes": classes}, indent=1) + "\n")


def main():
    """Measure a package and print the counts as JSON."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--data", type=Path, required=True, help="folder with records.jsonl")
    options.add_argument("--model", help="package; default: the one that answers")
    options.add_argument("--split", default="test")
    options.add_argument("--batch", type=int, help="only images of this delivery of the data")
    options.add_argument("--each", type=int, default=6, help="impossible names of each image, spread over all of them")
    options.add_argument("--classes", action="store_true", help="count stated classes and those that are right instead")
    options.add_argument("--fit", action="store_true", help="write the table of the vocabulary instead")
    given = options.parse_args()
    records = list(read_records(given.data))
    engine = load(given.model)
    if given.fit:
        return write_table(engine, records, given.split)
    if given.classes:
        chosen = [record for record in records if record.split == given.split and not record.dup_of_eval]
        sys.stdout.write(json.dumps(measure_classes(class_cases(engine, chosen))) + "\n")
        return None
    known = {name for name, _ in PromptBook.from_json(engine.package.text("prompts")).labels}
    table = modalities_of_labels(split_of(records, "train"))
    impossible, certain = [], []
    chosen = (record for record in records if record.split == given.split and not record.dup_of_eval)
    for number, record in enumerate(one for one in chosen if given.batch in (None, one.batch or 1)):
        foreign = [name for name, found in sorted(table.items()) if name in known and record.modality not in found]
        turn = number % len(foreign) if foreign else 0  # other names in each image
        impossible += [(record, name) for name in spread(foreign[turn:] + foreign[:turn], given.each)]
        shown = {region.label_en for region in record.targets}
        certain += [(record, name) for name in sorted((shown | implied(record, shown)) & known)]
    found = {"impossible": measure(engine, impossible), "certain": measure(engine, certain)}
    sys.stdout.write(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
