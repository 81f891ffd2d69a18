"""What one answer is worth, worked out by hand."""

import pytest

from medrega_edge.evaluation.grading import grade, is_exact, kind_of

LEFT, RIGHT, HALF = "[0, 0, 100, 100]", "[200, 0, 300, 100]", "[0, 0, 100, 50]"


def liver(*boxes: str) -> str:
    return f"<ref>liver</ref><box>[{', '.join(boxes)}]</box>" if boxes else ""


@pytest.mark.parametrize(
    ("boxes", "truth", "expected"),
    [
        ([LEFT], [LEFT], (1.0, 1.0)),
        ([HALF], [LEFT], (0.5, 1.0)),
        ([RIGHT], [LEFT], (0.0, 0.0)),
        ([], [LEFT], (0.0, 0.0)),
        ([LEFT, RIGHT], [LEFT], (0.5, 0.5)),
        ([RIGHT, LEFT], [LEFT, RIGHT], (1.0, 1.0)),
        ([LEFT, LEFT], [LEFT, RIGHT], (0.5, 0.5)),
    ],
)
def test_boxes_are_paired_one_to_one(boxes, truth, expected):
    made = grade("single_object_multi_region", liver(*boxes), liver(*truth))
    assert (made.mean_iou, made.accuracy) == expected


def test_a_box_counts_under_its_label():
    other = liver(LEFT).replace("liver", "spleen")
    assert grade("single_object_single_region", other, liver(LEFT)).worth == 0.0
    both = f"{other}, {liver(RIGHT)}"
    assert grade("multi_object_single_region", both.upper().replace("REF", "ref").replace("BOX", "box"), both).worth == 1.0


def test_what_is_not_there_is_right_without_a_box():
    assert grade("absent", "", "").accuracy == 1.0
    assert grade("absent", liver(LEFT), "").accuracy == 0.0


def test_names():
    assert is_exact(" Liver. ", "liver")
    assert is_exact("肝脏。", "肝脏")
    assert is_exact("Lung,  Spinal\tCord .", "lung, spinal cord")
    assert not is_exact("leftkidney", "left kidney")
    assert not is_exact("left kidney", "right kidney")
    assert grade("region_to_text", "Liver", "liver").accuracy == 1.0
    assert grade("vqa_en", "No", "Yes").accuracy == 0.0


def test_labels_are_a_set():
    assert grade("classification_multi", "b; a", "a; b").accuracy == 1.0
    assert grade("classification_multi", "a", "a; b").accuracy == 0.0


def test_a_report_needs_a_comparison_of_texts():
    assert grade("report_en", "a", "a") is None
    assert grade("report_en", "a", "b", lambda answer, truth: 0.25).worth == 0.25


def test_kinds():
    kinds = {setting: kind_of(setting) for setting in ("vqa_zh", "report_en", "absent", "multi_object_multi_region")}
    assert list(kinds.values()) == ["vqa", "report", "absent", "detect"]
