"""Losses between two answers to the same questions: paired, over images, by task and modality."""

import json
from dataclasses import asdict

import pytest

from medrega_edge.errors import UsageError
from medrega_edge.evaluation.comparison import GradedTwice, compare, read_comparisons, whole_tasks
from medrega_edge.evaluation.grading import Grade


def twice(image, before, after, modality=None, changed=True, task="detect"):
    grades = (Grade(before, float(before >= 0.5)), Grade(after, float(after >= 0.5)))
    return GradedTwice(f"q{image}", task, "en", modality, str(image), grades, changed, (0, 1))


def test_the_loss_is_that_of_the_package():
    pairs = [twice(i, 1.0, 0.5 if i else 1.0, changed=i > 0) for i in range(4)]
    (entry,) = compare(pairs)
    assert (entry.n, entry.images, entry.changed, entry.moved, entry.flipped) == (4, 4, 0.75, 0.75, 0.0)
    assert entry.mean_iou.reference == 1.0
    assert entry.mean_iou.loss == pytest.approx(0.375)
    low, high = entry.mean_iou.interval
    assert 0.0 <= low < 0.375 < high <= 0.5
    assert not entry.mean_iou.significant  # four images are too few
    assert (entry.warnings.reference, entry.warnings.package) == (0, 4)
    assert compare(pairs) == compare(pairs)  # seeded


def test_the_interval_is_over_images_not_questions():
    (entry,) = compare([twice("same", 1.0, 0.5 if i else 1.0) for i in range(4)])
    assert entry.mean_iou.interval == (pytest.approx(0.375), pytest.approx(0.375))


def test_a_loss_on_every_image_is_significant():
    (entry,) = compare([twice(i, 1.0, 0.0) for i in range(5)])
    assert entry.mean_iou.significant and entry.flipped == 1.0


def test_groups_by_modality_come_on_top():
    entries = compare([twice(1, 1.0, 1.0, modality) for modality in ("ct", "mri", None)])
    assert [(entry.modality, entry.n) for entry in entries] == [(None, 3), ("ct", 1), ("mri", 1)]
    assert [entry.n for entry in whole_tasks(entries)] == [3]


def test_figures_that_make_no_sense_are_none():
    names = [GradedTwice("a", "identify", "en", None, "1", (Grade(accuracy=1.0), Grade(accuracy=0.0)), True)]
    (entry,) = compare(names)
    assert (entry.mean_iou, entry.rouge_l, entry.moved, entry.warnings) == (None, None, None, None)
    assert list(entry.means) == ["accuracy"]


def test_entries_are_read_again_and_older_ones_too():
    entries = compare([twice(i, 1.0, 0.5, "ct") for i in range(3)])
    assert read_comparisons(json.loads(json.dumps([asdict(entry) for entry in entries]))) == entries
    older = {"task": "detect", "language": "en", "modality": None, "n": 2, "images": 1, "changed": 0.5,
             "mean_iou": {"reference": 1.0, "package": 0.5, "loss": 0.5, "interval": [0.4, 0.6]},
             "accuracy": None, "flipped": 0.0}  # fmt: skip
    (entry,) = read_comparisons([older])
    assert entry.mean_iou.loss == 0.5 and entry.rouge_l is None
    with pytest.raises(UsageError) as error:
        read_comparisons([{"task": "detect"}])
    assert error.value.code == "evaluation.accuracy_unreadable"
