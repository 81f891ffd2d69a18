"""Figures of the field: sides confused, risk by coverage, other splits; each with a case worked by hand."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from medrega_bench import result_files
from medrega_bench.evaluation import field_rows
from medrega_bench.evaluation.blind_answers import FreeAnswer
from medrega_bench.evaluation.field_result import FieldResult, ImageSplit, published
from medrega_bench.evaluation.field_rows import LocatedRegion
from medrega_bench.metrics import sides
from medrega_bench.metrics.selective import Case, aurc, curve, least_sure
from medrega_bench.performance.environment import Environment, ModelIdentity
from medrega_bench.reports import field_tables
from medrega_bench.result_files import DataIdentity
from medrega_edge.boxes import PixelBox
from medrega_edge.domain import Modality
from medrega_edge.errors import UsageError
from medrega_edge.evaluation.records import Record
from tests.bench.handmade import row
from tests.codes import raises_code

LEFT, RIGHT = PixelBox(60, 0, 100, 100), PixelBox(0, 0, 40, 100)
PAIR = {"left lung": [LEFT], "right lung": [RIGHT], "heart": [PixelBox(40, 40, 70, 80)]}


def cases(*pairs):
    return [
        Case(sure, right, f"image{number}", f"patient{number}", *told) for number, (sure, right, *told) in enumerate(pairs)
    ]


def record(number=0, dataset="slake", name=None, split="test"):
    image = Path("images") / f"{name or f'image{number}'}.jpg"
    return Record(id=f"r{number}", dataset=dataset, image=image, modality=Modality.XRAY, width=100, height=100, split=split)


def region(label, found, true=RIGHT, number=0):
    return LocatedRegion(record(number), label, (true,), tuple((PixelBox(*box), sure) for box, sure in found))


def test_a_box_on_the_other_side_is_swapped():
    located = list(sides.of_image("i", PAIR, {"left lung": RIGHT, "right lung": RIGHT, "heart": LEFT}))
    assert [(one.label, one.is_found, one.is_swapped) for one in located] == [
        ("left lung", True, True),
        ("right lung", True, False),
    ]  # the heart has no side


def test_a_box_that_touches_neither_side_and_one_that_is_missing_are_not_swapped():
    nowhere = PixelBox(45, 0, 55, 100)
    located = list(sides.of_image("i", PAIR, {"left lung": nowhere, "right lung": None}))
    assert [(one.is_found, one.is_swapped) for one in located] == [(True, False), (False, False)]


def test_a_structure_whose_counterpart_is_not_annotated_does_not_count():
    assert list(sides.of_image("i", {"left lung": [LEFT]}, {"left lung": RIGHT})) == []


@pytest.mark.parametrize(
    "label, other", [("left kidney", "right kidney"), ("right upper lobe", "left upper lobe"), ("liver", None)]
)
def test_the_name_of_the_other_side(label, other):
    assert sides.other_side(label) == other


def test_neither_bright_nor_two_sided_names_have_another_side():
    assert sides.other_side("bright spot") is None
    assert sides.other_side("vessel from left to right") is None


def test_the_rate_over_images_counts_found_boxes_only():
    rows = [
        region("left lung", [(RIGHT, 0.9)], LEFT),  # swapped
        region("right lung", [(RIGHT, 0.9)]),
        region("left lung", [], LEFT, number=1),
        region("right lung", [(RIGHT, 0.9)], number=1),
    ]
    overall, *by_name = field_rows.side_figures(rows)
    assert (overall.label, overall.images, overall.patients, overall.asked, overall.swapped.n) == ("", 2, 2, 4, 3)
    assert overall.swapped.value == pytest.approx(1 / 3)
    assert {one.label: one.swapped.value for one in by_name} == {"left lung": 1.0, "right lung": 0.0}


def test_the_risk_coverage_curve_by_hand():
    # Right, wrong, right, wrong from sure to unsure: risks 0, 1/2, 1/3, 2/4.
    given = cases((0.9, True), (0.8, False), (0.7, True), (0.6, False))
    assert curve(given) == [(0.25, 0.0), (0.5, 0.5), (0.75, pytest.approx(1 / 3)), (1.0, 0.5)]
    assert aurc(given) == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)


def test_equally_sure_answers_are_given_together():
    assert curve(cases((0.5, True), (0.5, False))) == [(1.0, 0.5)]


def test_confidence_that_orders_wrongly_has_the_larger_area():
    good = cases((0.9, True), (0.8, True), (0.2, False), (0.1, False))
    bad = cases((0.1, True), (0.2, True), (0.8, False), (0.9, False))
    assert aurc(bad) > aurc(good)


def test_the_threshold_with_the_most_answers_at_an_error():
    given = cases((0.9, True), (0.8, False), (0.7, True), (0.6, True), (0.5, True), (0.4, False))
    assert least_sure(given, 0.2) == 0.5  # one of five is wrong from there on, though two of two were before
    assert least_sure(given, 0.1) == 0.9
    assert least_sure(cases((0.9, False)), 0.2) is None


def test_a_question_without_an_answer_is_never_answered_at_any_threshold():
    assert least_sure(cases((0.0, True), (0.0, True)), 0.2) is None


def test_the_threshold_is_of_val_and_the_figures_of_test():
    val = cases((0.9, True), (0.6, True), (0.5, False), (0.4, False))
    test = cases((0.95, True), (0.7, False), (0.3, True), (0.2, False))
    _, twenty, ten = field_rows.selective("boxes", "", val, test).points
    assert (twenty.threshold, twenty.coverage.value, twenty.realised.value) == (0.6, 0.5, 0.5)  # worse than on val
    assert ten.threshold == 0.6


def test_a_threshold_that_no_answer_of_test_reaches():
    (_, point, _) = field_rows.selective("boxes", "", cases((0.9, True)), cases((0.5, True))).points
    assert point.coverage.value == 0.0 and point.realised is None


def test_an_answer_that_the_program_does_not_state_is_none_at_any_threshold():
    # Surest of all and right, but given as "Not sure.": the curve has it, the thresholds and their figures do not.
    given = cases((0.9, True, False), (0.8, True), (0.7, False), (0.0, False))
    made = field_rows.selective("free", "slake", given, given)
    as_it_is, twenty, _ = made.points
    assert made.curve[0] == (0.25, 0.0)
    assert (as_it_is.error, as_it_is.coverage.value, as_it_is.realised.value) == (None, 0.5, 0.5)
    assert (twenty.threshold, twenty.coverage.value, twenty.realised.value) == (0.8, 0.25, 0.0)


def test_a_program_that_states_nothing_has_no_threshold():
    given = cases((0.9, True, False), (0.8, True, False))
    as_it_is, twenty, ten = field_rows.selective("free", "", given, given).points
    assert as_it_is.coverage.value == 0.0 and as_it_is.realised is None
    assert twenty.threshold is ten.threshold is None


def test_boxes_of_slake_a_missing_one_counts_zero():
    rows = [region("liver", [(RIGHT, 0.4), (LEFT, 0.9)]), region("liver", [(RIGHT, 0.9)], number=1), region("heart", [])]
    rows[0] = region("liver", [(LEFT, 0.9), (RIGHT, 0.4)])  # the surest counts, and it is wrong
    figures = field_rows.box_figures(rows)
    assert (figures.images, figures.acc50.n, figures.acc50.value) == (2, 3, pytest.approx(1 / 3))


def test_all_boxes_are_paired_one_to_one():
    two = LocatedRegion(record(), "lung", (LEFT, RIGHT), ((RIGHT, 0.9), (RIGHT, 0.8)))
    assert field_rows.all_box_figures([two]).iou.value == 0.5  # the second box does not pay for the same one


def test_another_split_counts_where_our_data_has_its_images(tmp_path):
    path = tmp_path / "split.json"
    path.write_text(json.dumps({"source": "they", "images": {"test": ["a", "b", "c", "d"]}}), encoding="utf-8")
    ours = [record(1, "vqa_rad", "a", "train"), record(2, "vqa_rad", "b", "test"), record(3, "slake", "c", "test")]
    counted = field_rows.image_split(field_rows.read_split(path), ours)
    assert (counted.train, counted.val, counted.test, counted.missing) == (1, 0, 1, 2)


@pytest.mark.parametrize("text", ["", "{}", '{"source": "x", "images": {}}', '{"source": 1, "images": {"test": []}}'])
def test_a_file_that_is_no_split_is_refused(tmp_path, text):
    path = tmp_path / "split.json"
    path.write_text(text, encoding="utf-8")
    with raises_code(UsageError, "bench.split_unreadable", file="split.json"):
        field_rows.read_split(path)


def result(**more):
    regions = [region("left lung", [(RIGHT, 0.9)], LEFT), region("right lung", [(RIGHT, 0.9)])]
    boxes = cases((0.9, True), (0.8, True), (0.7, False), (0.2, False))
    truths = ("yes", "yes", "lung")
    rows = [
        row(number, "vqa_en", "yes", truth, boxes=[], true_boxes=[], confidences=[]) for number, truth in enumerate(truths)
    ]
    free = [FreeAnswer(each, each.image, 0.9, {"seen": True}) for each in rows]
    made = FieldResult(
        date="2026-11-30",
        command="medrega bench field",
        environment=Environment("CPU", 2, 4.0, "Linux", "3.11", {"onnxruntime": "1.32.0"}),
        model=ModelIdentity("lite", "1", "int4", "ab" * 32),
        data=DataIdentity("data", "test", 3, 3, "cd"),
        slake_boxes=field_rows.box_figures(regions),
        slake_all_boxes=field_rows.all_box_figures(regions),
        slake=dict.fromkeys(("vqa_en", "vqa_zh"), field_rows.free_figures(free)),
        sides=tuple(field_rows.side_figures(regions)),
        selective=(field_rows.selective("boxes", "", boxes, boxes),),
    )
    return replace(made, **more)


def test_a_result_is_written_and_read_again(tmp_path):
    result_files.write(tmp_path / "field.json", result())
    text = (tmp_path / "field.json").read_text(encoding="utf-8")
    assert result_files.parse(FieldResult, json.loads(text), "field.json") == result()
    assert "images/" not in text  # no path


def test_our_rows_stand_beside_published_ones_with_their_source():
    table = field_tables.boxes_table(result())
    assert "| 50.0 (50.0 to 50.0) |" in table and "| 19.1 |" in table and "arXiv 2604.27720 (abstract)" in table
    questions = field_tables.questions_table(result())
    assert "yes or no: 3 images of our test split | this package | 2 | 100.0" in questions  # of three one is open
    assert "SLAKE, English, open: 3 images of our test split | this package | 1 | 0.0" in questions
    assert "SLAKE, Chinese" in questions and "VQA-RAD" not in questions  # nothing of ours, so nothing beside it
    assert "| **all** | 1 | 1 | 2 | 2 | 50.0 (50.0 to 50.0) |" in field_tables.sides_table(result())


def test_images_that_the_weights_have_seen_are_said():
    images = ImageSplit("they", 75, 11, 12, 5)
    unseen = result().slake["vqa_en"]
    made = result(vqa_rad_images=images, vqa_rad_unseen=unseen)
    assert "Of the 103 test images of that split, 75 are in our train split" in field_tables.images_sentence(made)
    assert "the 3 of its test images in our test split" in field_tables.questions_table(made)


def test_the_chart_and_the_table_of_what_can_be_answered():
    marks = field_tables.selective_chart(result()).chart.marks
    assert [(mark.x, mark.y) for mark in marks][4:] == [
        (50.0, 0.0), (60.0, pytest.approx(33.33)), (70.0, pytest.approx(33.33)), (80.0, 50.0), (90.0, 50.0), (100.0, 50.0)
    ]  # fmt: skip
    assert "| as it is | none | 100.0 " in field_tables.selective_table(result())
    assert "| 20.0 | 0.80 | 50.0 " in field_tables.selective_table(result())


def test_every_published_figure_has_a_source():
    figures = published()
    assert {one.row for one in figures} >= {"slake_boxes_iou", "slake_boxes_acc50", "slake_en_closed", "slake_zh"}
    assert all(one.source and one.read and one.training and 0 < one.value < 1 for one in figures)
