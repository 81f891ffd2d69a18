"""What a suite asks about hand-made records, and how it sums up hand-made answers."""

import json
from pathlib import Path

import pytest

from medrega_bench.datasets import evaluation_set
from medrega_bench.evaluation.figures import Change
from medrega_bench.evaluation.image_ablation import reliance
from medrega_bench.evaluation.question_only_baseline import CHOSEN, TRIALS, Classifier, QuestionOnlyBaseline, Recipe
from medrega_bench.evaluation.results import ConfidenceBin, FigureLoss, VersionFigure
from medrega_bench.evaluation.tables import losses, tables
from medrega_bench.reports.report_figures import report_figures
from medrega_edge.boxes import PixelBox
from medrega_edge.domain import Language, Modality
from medrega_edge.evaluation.records import AnnotatedQuestion, AnnotatedRegion, Record, WrittenReport
from tests.bench import handmade


def record(number, modality="mri", regions=(), qa=(), labels=(), dataset="set", report=None):
    return Record(
        id=f"set/{number}", dataset=dataset, image=Path(f"/data/images/{number}.png"), modality=Modality(modality),
        width=100, height=50, labels=tuple(labels), qa=tuple(qa), report=report,
        regions=tuple(
            AnnotatedRegion(en, zh, tuple(PixelBox(*box) for box in boxes), *kind) for en, zh, boxes, *kind in regions
        ),
    )  # fmt: skip


LIVER = ("liver", "肝脏", [[10, 10, 50, 40]])
KIDNEY = ("left kidney", "左肾", [[60, 20, 80, 40]])
QA = (
    AnnotatedQuestion(Language.EN, "Does the picture contain spleen?", "No", "closed"),
    AnnotatedQuestion(Language.EN, "Does the picture contain liver?", "Yes", "closed"),
    AnnotatedQuestion(Language.ZH, "图中最大的器官是什么?", "肝脏", "open"),
)


def asked(*records):
    return list(evaluation_set.items_of(records))


def test_several_objects_are_asked_for_at_once_in_both_languages():
    several = [
        one.question
        for one in asked(record(1, regions=[LIVER, KIDNEY]))
        if one.question.id.endswith(("several/en", "several/zh"))
    ]
    assert [one.question for one in several] == ["locate the liver, the left kidney", "请定位肝脏、左肾"]
    assert {one.setting for one in several} == {"multi_object_single_region"}
    assert several[0].truth.text.count("<box>") == 2
    assert not [one for one in asked(record(1, regions=[LIVER])) if "/several/" in one.question.id]


def test_organs_that_are_missing_from_their_own_body_part_are_asked_for():
    spleen = ("spleen", "脾脏", LIVER[2])
    rows = [record(1, dataset="curvas_ct", regions=[LIVER, spleen]), record(2, dataset="curvas_ct", regions=[LIVER])]
    missing = [one for one in asked(*rows) if one.kind == "missing"]
    assert [(one.question.id, one.question.object, one.absent) for one in missing] == [
        ("set/2/spleen/missing", "spleen", True)
    ]
    others = [record(n, dataset="chaos_mr", regions=regions) for n, regions in ((1, [LIVER, spleen]), (2, [LIVER]))]
    assert [one for one in asked(*others) if one.kind == "missing"] == []  # of what is not boxed nothing is known


def test_what_is_not_there_is_certain():
    gone = {one.question.object for one in asked(record(1, regions=[LIVER], qa=QA)) if one.absent}
    assert gone == {"polyp", "optic disc", "skin lesion", "spleen"}
    gone = {one.question.object for one in asked(record(2, modality="fundus")) if one.absent}
    assert gone == {"liver", "left kidney", "heart"}


def test_another_image_is_another_one_of_the_same_data_set():
    records = [record(1, qa=QA), record(2, qa=QA), record(3, qa=QA, dataset="other")]
    others = evaluation_set.other_images(evaluation_set.by_image(asked(*records)))
    assert others[Path("/data/images/1.png")] == Path("/data/images/2.png")
    assert others[Path("/data/images/2.png")] == Path("/data/images/1.png")


def test_questions_alone_are_answered_as_in_training():
    train = [
        record(n, qa=[AnnotatedQuestion(Language.EN, "Which organ is it?", answer)])
        for n, answer in enumerate(["Liver", "Liver", "Heart"])
    ]
    alone = QuestionOnlyBaseline(train)
    assert alone.answers("which organ is it", Language.EN)["question_only"] == "Liver"
    assert set(alone.answers("Which organ is shown?", Language.EN).values()) == {"Liver"}
    assert set(alone.answers("哪个器官？", Language.ZH).values()) == {""}


def test_a_classifier_of_questions_knows_what_decides():
    asked = [(f"Is the {organ} {word}?", "Yes" if word == "large" else "no") for organ in ("liver", "heart", "spleen")
             for word in ("large", "small")]  # fmt: skip
    trained = Classifier(asked, Language.EN, Recipe("word", 2, 1.0))
    assert trained.answer(["Is the kidney large?", "Is the kidney small?"]) == ["Yes", "no"]
    same = Classifier([("Is it?", "Yes"), ("Was it?", "yes"), ("Will it?", "Yes")], Language.EN)
    assert same.answer(["Who?"]) == ["Yes"]


def test_the_recipe_is_the_best_of_the_committed_trials():
    result = json.loads((Path(__file__).parents[2] / "bench" / "results" / "blind.json").read_text("utf-8"))
    for language, recipe in CHOSEN.items():
        mine = [t for t in result["trials_on_val"] if t["language"] == language]
        best = max(mine, key=lambda trial: trial["right"])
        assert len(mine) == len(TRIALS[language])
        assert recipe == Recipe(best["unit"], best["longest"], best["c"])


def row(setting, answer, truth, **more):
    return handmade.row(0, setting, answer, truth, **{"image": "a", "boxes": [], "true_boxes": [], "confidences": []} | more)


def test_hand_made_answers_sum_up():
    here = {"boxes": [[0, 0, 10, 10]], "true_boxes": [[0, 0, 10, 10]], "confidences": [0.9]}
    box = "<ref>liver</ref><box>[[0, 0, 10, 10]]</box>"
    rows = [
        row("vqa_en", "Yes", "Yes", image="a", blank="No", other="Yes", cot="Yes", question_only="No"),
        row("vqa_en", "No", "Yes", image="b", blank="No", other="Yes", cot="Yes", question_only="No"),
        row("single_object_single_region", box, box, image="a", **here),
        row("single_object_single_region", box, box, image="a", language="zh", **here),
        row("single_object_single_region", "", box, image="b", recognised="ct"),
        row("absent", "", "", image="a", absent=True),
        row("absent", box, "", image="b", absent=True, recognised="ct", **here),
        row("absent", box, "", image="b", absent=True, recognised="ct", **here, kind="missing"),
        row("absent", "", "", image="b", absent=True, recognised="ct", kind="missing"),
    ]
    made = tables(rows)
    vqa = made.settings["vqa_en"]
    assert vqa.all.figures["closedQuestionsAccuracy"].value == pytest.approx(0.5)
    assert vqa.blank["en"].figures["closedQuestionsAccuracy"].value == 0.0
    assert vqa.other["en"].figures["closedQuestionsAccuracy"].value == 1.0
    beside = {name: (figure.n, figure.value) for name, figure in made.beside.items()}
    assert beside == {
        "false_boxes": (2, 0.5),
        "missing_boxes": (2, 0.5),
        "missed": (3, pytest.approx(1 / 3)),
        "same_box": (1, 1.0),
        "kind_of_image": (2, 0.5),
        "ece": (2, pytest.approx(0.1)),
    }
    assert made.beside["false_boxes"].interval == (0.0, 1.0)
    assert made.modality == {"mri": 0.5}
    assert made.confidence.bins == (ConfidenceBin(2, pytest.approx(0.9), 1.0),)


def test_the_gain_over_no_image_is_paired():
    rows = [
        row("vqa_en", "Yes", "Yes", id=str(n), image=str(n), blank="No", other="Yes" if n < 10 else "No",
            question_only="No", question_trained="Yes", cot="Yes")
        for n in range(20)
    ]  # fmt: skip
    (closed, _) = reliance(rows)
    assert (closed.figure, closed.n, closed.value) == ("closedQuestionsAccuracy", 20, 1.0)
    assert closed.versions["blank"] == VersionFigure(0.0, Change(1.0, (1.0, 1.0)))
    assert closed.versions["question_trained"].gain == Change(0.0, (0.0, 0.0))
    other = closed.versions["other"]
    low, high = other.gain.interval
    assert other.gain.value == 0.5
    assert 0.2 < low < 0.5 < high < 0.8


def test_reports_are_asked_for_and_told_from_annotations():
    lesion = ("tumor", "肿瘤", [[1, 1, 9, 9]], "lesion")
    written = WrittenReport(Language.EN, "A mass.")
    one = record(1, regions=[LIVER, KIDNEY, lesion], labels=["abdomen", "glioma"], report=written)
    en, zh = evaluation_set.reports_of([one])
    assert en.question.truth.text == "MRI of the abdomen. Seen: liver, left kidney. Abnormal: tumor, glioma."
    assert zh.question.truth.text == "磁共振图像，腹部。可见：肝脏、左肾。异常：肿瘤、胶质瘤。"
    assert (en.note, zh.note) == ("A mass.", None)
    assert en.placed["abnormal"] == "<ref>tumor</ref><box>[[10, 20, 90, 180]]</box>"
    assert en.placed["seen"].count("<ref>") == 2
    assert len(list(evaluation_set.reports_of([record(n) for n in range(40)]))) == 16  # a few of each data set


def test_regions_of_a_report_count_in_their_sentence():
    box = "<ref>liver</ref><box>[[0, 0, 10, 10]]</box>"
    here = {"truth": "Seen: liver.", "note": None}
    rows = [
        row("report_en", "Seen: liver.", sentences=[[box, box], ["", ""]], image="a", **here),
        row("report_en", "Abnormal: liver.", sentences=[["", box], [box, ""]], image="b", **here | {"note": "A liver."}),
    ]
    english = report_figures(rows)["en"]
    assert english.regions.n == 3
    assert english.regions.figures["f1"].value == pytest.approx(0.5)
    assert english.words.figures["rougeL"].value > 0.5
    assert english.notes.n == 1


def test_macro_f1_is_the_mean_over_data_sets():
    classes = {"classes": ["a", "b"], "object": None}
    rows = [
        row("classification_single", "a", "a", dataset="one", image="1", **classes),
        row("classification_single", "b", "b", dataset="one", image="2", **classes),
        row("classification_single", "b", "a", dataset="two", image="3", **classes),
    ]
    assert tables(rows).beside["mean_f1"].value == 0.5


def numbered(answers, truth="Yes"):
    return [row("vqa_en", answer, truth, id=str(n), image=str(n)) for n, answer in enumerate(answers)]


def test_a_loss_is_paired_over_images():
    before, after = numbered(["Yes"] * 10), numbered(["Yes"] * 5 + ["No"] * 5)
    lost = losses(before, after).settings["vqa_en"].all["closedQuestionsAccuracy"]
    assert lost.loss == 0.5
    assert lost.significant
    low, high = lost.interval
    assert 0.1 < low < 0.5 < high < 0.9
    # What both find equally hard cancels: neither is sure of itself, and yet nothing was lost.
    same = losses(after, after).settings["vqa_en"].dataset["set"]["closedQuestionsAccuracy"]
    assert same == FigureLoss(0.0, (0.0, 0.0), significant=False)


def test_less_is_better_counts_as_a_loss_when_it_grows():
    def absent(boxes):
        return [row("absent", "", "", id=str(n), image=str(n), absent=True, boxes=boxes) for n in range(6)]

    lost = losses(absent([]), absent([[0, 0, 1, 1]])).beside["false_boxes"]
    assert lost == FigureLoss(1.0, (1.0, 1.0), significant=True)
    assert losses(absent([[0, 0, 1, 1]]), absent([])).beside["false_boxes"].loss == -1.0


def test_only_questions_of_both_runs_count_and_few_images_show_nothing():
    lost = losses(numbered(["Yes"] * 9), numbered(["No"] * 4)).settings["vqa_en"].all["closedQuestionsAccuracy"]
    assert lost.loss == 1.0
    assert not lost.significant
