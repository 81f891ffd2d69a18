import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from medrega_bench.cli.main import bench_app
from medrega_bench.evaluation.score import Item, read_items, score
from medrega_bench.evaluation.settings import SETTINGS
from medrega_bench.result_files import to_json_values
from medrega_edge.errors import UsageError

from .handmade import row

LIVER = "<ref>liver</ref><box>[[0, 0, 100, 100]]</box>"
BETWEEN = "<ref>liver</ref><box>[[0, 0, 100, 80]]</box>"


def items(*rows):
    return [Item(line, row) for line, row in enumerate(rows, 1)]


def vqa(answer="yes", truth="yes", **more):
    return {"pred_answer": answer, "gt_answer": truth, "question": "?"} | more


def region(answer=LIVER, truth=LIVER, **more):
    return {"answer": answer, "gt": truth, "hw": [256, 256]} | more


def write(folder, *rows):
    path = folder / "answers.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


def test_the_standard_figures_stand_beside_upstreams():
    made = score("single_object_single_region", items(region(BETWEEN, image="a"), region("none", image="a")))
    assert (made.items, made.images) == (2, 1)
    assert made.figures == pytest.approx({"acc25": 0.5, "acc50": 0.5, "acc75": 0.5, "iou": 0.4})
    assert made.standard == pytest.approx(
        {"precision": 1.0, "recall": 0.5, "f1": 2 / 3, "mean_iou": 0.4, "without_box": 0.5}
    )
    assert made.standard_intervals["recall"] == (0.5, 0.5)  # one image: nothing to resample
    assert [warning.code for warning in made.warnings] == ["bench.no_average_precision"]


def test_confidences_bring_average_precision_and_calibration():
    made = score("single_object_single_region", items(region(confidences=[0.75]), region("none", confidences=[])))
    assert made.standard["AP"] == pytest.approx(51 / 101)
    assert made.standard["ece"] == pytest.approx(0.25)  # of the one box that was drawn
    assert set(made.standard) == set(made.standard_intervals)
    named = score("region_to_text", items(vqa(confidence=0.5), vqa("no", confidence=0.5)))
    assert named.standard == pytest.approx({"exact_match": 0.5, "ece": 0, "mean_confidence": 0.5, "share_right": 0.5})
    assert named.warnings == ()


def test_groups_of_names_are_upstreams():
    made = score("multi_object_multi_region", items(region()))
    assert set(made.figures) == {"box", "object", "object-box"}
    assert made.figures["object-box"]["object_box_f1"] == 1.0


def test_regions_that_cannot_be_read_are_said():
    broken = "<ref>liver</ref><box>[[1, 2]]</box>"
    made = score("single_object_multi_region", items(region(), region(broken)))
    assert "Line 2: a box of 'liver' could not be read." in list(map(str, made.warnings))


def test_a_truth_without_area_is_upstreams_but_nobody_elses_and_that_is_said():
    flat = "<ref>liver</ref><box>[[5, 5, 5, 9]]</box>"
    made = score("single_object_multi_region", items(region(truth=flat, confidences=[0.5])))
    assert made.figures["iou"] == 0
    assert made.standard["recall"] is made.standard["AP"] is made.standard_intervals["AP"] is None
    assert list(map(str, made.warnings)) == [
        "Line 1, truth: a box of 'liver' is inverted or outside the image; standard metrics leave it out."
    ]


@pytest.mark.slow
@given(st.text(max_size=60), st.sampled_from(sorted(SETTINGS)))
@settings(max_examples=60, deadline=None)
def test_no_answer_brings_a_metric_down(text, setting):
    truth = LIVER if SETTINGS[setting].has_regions else "liver"
    keys = {SETTINGS[setting].answer: text, SETTINGS[setting].truth: truth, "classes": ["liver", "lung"]}
    json.dumps(to_json_values(score(setting, items(keys)).figures))


@pytest.mark.slow
@given(
    st.lists(st.integers(-5, 2000), max_size=9),
    st.sampled_from(["<ref>a</ref><box>[{}]</box>", "a[[{}]]", "[[{}], [1]]"]),
    st.sampled_from(["single_object_single_region", "multi_object_single_region", "multi_object_multi_region"]),
)
@settings(max_examples=60, deadline=None)
def test_no_boxes_bring_a_metric_down(numbers, form, setting):
    text = form.format(", ".join(map(str, numbers)))
    made = score(setting, items(region(text)))
    assert 0 <= made.standard["recall"] <= 1


def test_classes_come_from_the_option_or_the_items():
    rows = [vqa("a", "a", classes=["a", "b"]), vqa("b", "a", classes=["b", "a"])]
    assert score("classification_single", items(*rows)).figures["Accuracy"] == 0.5
    assert score("classification_single", items(vqa("a", "a")), ["a", "b"]).figures["Accuracy"] == 1


@pytest.mark.parametrize(
    ("setting", "rows", "line", "code"),
    [
        ("vqa_en", [vqa(), {"pred_answer": "yes"}], 2, "item_lacks_key"),
        ("vqa_en", [vqa(), region()], 2, "item_lacks_key"),
        ("vqa_en", [vqa(answer=None)], 1, "item_needs_text"),
        ("vqa_en", [vqa(truth=" ")], 1, "item_without_truth"),
        ("report_en", [vqa(image=3)], 1, "item_needs_text"),
        ("region_to_text", [vqa(confidence=1.5)], 1, "confidence_no_share"),
        ("region_to_text", [vqa(confidence=True)], 1, "confidence_no_share"),
        ("single_object_single_region", [region(confidences=0.5)], 1, "item_needs_confidences"),
        ("single_object_single_region", [region(truth="liver")], 1, "truth_not_regions"),
        ("multi_object_single_region", [region(), region(truth="<box>[[1, 2]]</box>")], 2, "truth_not_regions"),
        ("single_object_multi_region", [region(confidences=[0.1, 0.2])], 1, "confidences"),
        ("classification_single", [vqa()], 1, "item_needs_classes"),
        ("classification_single", [vqa(classes=["a"])], 1, "truth_not_a_class"),
        ("classification_multi", [vqa(classes=["yes", "yes"])], 1, "classes_unusable"),
    ],
)
def test_rubbish_is_named_with_its_line(setting, rows, line, code):
    with pytest.raises(UsageError) as error:
        score(setting, items(*rows))
    assert error.value.code == f"bench.{code}"
    assert str(error.value).startswith(f"Line {line} ")
    assert str(error.value).count("\n") == 0


def test_a_setting_that_is_not_there_and_nothing_to_score_are_refused():
    with pytest.raises(UsageError) as error:
        score("vqa_zh", [])
    assert error.value.code == "bench.nothing_to_score"
    with pytest.raises(UsageError) as error:
        score("juggling", items(vqa()))
    assert error.value.code == "bench.no_setting" and "vqa_en" in error.value.message.params["settings"]


@pytest.mark.parametrize(
    ("rows", "code"),
    [(["{broken"], "io.line_not_json"), ([vqa(), "", "[1]"], "io.line_not_object"), ([], "io.empty_file")],
)
def test_a_file_that_is_no_jsonl_is_named(tmp_path, rows, code):
    with pytest.raises(UsageError) as error:
        read_items(write(tmp_path, *rows))
    assert error.value.code == code


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting_scores_a_perfect_answer(setting):
    row = region() if SETTINGS[setting].has_regions else vqa("right lung is normal here", "right lung is normal here")
    made = score(setting, items(row | {"classes": ["right lung is normal here", "no"]}))
    assert made.setting == setting
    assert made.schema_version == 1
    # Not a perfect one: no question is closed, METEOR has its penalty, and a class that does not appear counts 0.
    below = {"closedQuestionsAccuracy", "meteor_without_synonyms", "F1-macro"}
    flat = {name: value for part in made.figures.values() if isinstance(part, dict) for name, value in part.items()}
    flat |= {name: value for name, value in made.figures.items() if not isinstance(value, dict)}
    assert {name: value for name, value in flat.items() if name not in below} == pytest.approx(
        dict.fromkeys(flat.keys() - below, 1.0)
    )


def test_the_command_prints_figures_for_people_and_for_programs(tmp_path):
    path = write(tmp_path, region(BETWEEN), region("nothing"))
    shown = CliRunner().invoke(bench_app, ["score", str(path), "--setting", "single_object_single_region"])
    assert shown.exit_code == 0
    assert "acc50" in shown.stdout
    assert "0.5000 (0.0000 to 1.0000)" in shown.stdout
    assert "warning: AP and ECE are left out" in shown.stderr
    printed = CliRunner().invoke(bench_app, ["score", str(path), "--setting", "single_object_single_region", "--json"])
    assert json.loads(printed.stdout)["figures"]["iou"] == pytest.approx(0.4)


def test_the_command_exits_with_2_and_one_sentence(tmp_path):
    import subprocess
    import sys

    path = write(tmp_path, vqa(), {"answer": "x"})
    run = subprocess.run(
        [sys.executable, "-m", "medrega_edge", "bench", "score", str(path), "--setting", "vqa_en", "--json"],
        capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert run.returncode == 2
    assert run.stdout == ""
    assert run.stderr == "error: Line 2 lacks the key 'pred_answer'.\n"


def test_labels_of_our_own_models_are_parted_by_semicolons_and_scored_all_the_same():
    from medrega_bench.evaluation.tables import tables

    parts = {"classes": ["hand", "leg", "oblique"], "true_boxes": [], "recognised": None}
    labels = row(1, "classification_multi", "hand; oblique", "hand; oblique", **parts)
    figures = tables([labels]).settings["classification_multi"].all.figures
    assert figures["Accuracy"].value == 1.0
