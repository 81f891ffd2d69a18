"""Honesty: answers without an image, with wrong options, in other words, and back; each with an answerer that fails."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from medrega_bench import result_files
from medrega_bench.datasets.evaluation_set import EvaluationItem
from medrega_bench.evaluation import blind_answers, box_cycle, hidden_option, no_image, rewordings
from medrega_bench.evaluation.asker import Asked, Asker, Given
from medrega_bench.evaluation.blind_answers import FreeAnswer
from medrega_bench.evaluation.honesty import HonestyResult
from medrega_bench.evaluation.rewordings import Reworded
from medrega_bench.performance.environment import Environment, ModelIdentity
from medrega_bench.reports import honesty_tables
from medrega_bench.reports.readme_blocks import HONESTY_TABLES
from medrega_bench.result_files import DataIdentity
from medrega_edge.boxes import PixelBox
from medrega_edge.domain import Language, Modality, Task
from medrega_edge.errors import ImageError, UsageError
from medrega_edge.evaluation.questions import Question, Truth
from medrega_edge.evaluation.records import AnnotatedRegion, Record
from tests.bench.handmade import row
from tests.codes import raises_code

EN, ZH = Language.EN, Language.ZH
BOX, MOVED = (0.0, 0.0, 100.0, 100.0), (0.0, 0.0, 100.0, 80.0)  # IoU 0.8


def free(number, truth, answer, setting="vqa_en", **versions):
    blind = {"blank": "", "other": "", "question_only": "", "question_trained": ""} | versions
    made = row(number, setting, answer, truth, boxes=[], true_boxes=[], confidences=[], language=setting[-2:])
    return FreeAnswer(replace(made, **blind), f"patient{number}", 0.9, {"seen": True})


def record(number=0, labels=(), modality=Modality.MRI, regions=(), dataset="set"):
    return Record(
        id=f"r{number}",
        dataset=dataset,
        image=Path(f"image{number}.png"),
        modality=modality,
        width=200,
        height=200,
        labels=labels,
        regions=regions,
    )


class Says:
    """An asker with prepared answers: a function of what is asked."""

    def __init__(self, say):
        self.ask, self.asked = self._noted(say), []
        self.engine = SimpleNamespace(terminology=SimpleNamespace(find=lambda text: []))

    def _noted(self, say):
        def ask(asked):
            self.asked.append(asked)
            return say(asked)

        return ask


# ---- without the image ----------------------------------------------------------------------------------------------------


def test_the_mirage_score_by_hand():
    # With the image 3 of 4 closed questions are right, with a blank one 2, of these one that was wrong with it.
    rows = [
        free(1, "yes", "yes", blank="yes"),
        free(2, "yes", "yes", blank="no"),
        free(3, "no", "no", blank="yes"),
        free(4, "no", "yes", blank="no"),
    ]
    score = next(
        one for one in blind_answers.mirage_scores(rows) if one.version == "blank" and one.figure.startswith("closed")
    )
    assert (score.seen.value, score.without.value) == (0.75, 0.5)
    assert score.score.value == pytest.approx(2 / 3)


def test_a_model_that_never_looks_has_a_mirage_score_of_one():
    rows = [free(number, "yes", answer, blank=answer) for number, answer in enumerate(["yes", "no", "yes"])]
    score = next(
        one for one in blind_answers.mirage_scores(rows) if one.version == "blank" and one.figure.startswith("closed")
    )
    assert score.score.value == 1.0 and score.score.interval == (1.0, 1.0)


def test_no_score_where_nothing_is_right_with_the_image():
    rows = [free(number, "yes", "no", blank="yes") for number in range(3)]
    score = next(
        one for one in blind_answers.mirage_scores(rows) if one.version == "blank" and one.figure.startswith("closed")
    )
    assert score.score.value is None


def test_the_clean_questions_are_those_that_nobody_gets_right_blind():
    rows = [
        free(1, "yes", "yes", question_only="yes"),  # left out: the lookup knows it
        free(2, "left lung", "left lung", other="left lung"),  # left out: another patient's image gives it
        free(3, "yes", "yes", blank="no"),
        free(4, "no", "yes", blank="yes"),
    ]
    (clean,) = blind_answers.clean_figures(rows)
    assert (clean.questions, clean.all.value, clean.clean.n, clean.clean.value) == (4, 0.75, 2, 0.5)


def test_where_everything_is_answered_blind_nothing_is_left():
    (clean,) = blind_answers.clean_figures([free(1, "yes", "yes", blank="yes")])
    assert clean.clean is None


def test_how_often_an_answer_is_stated_without_the_image():
    answers = [replace(free(1, "yes", "yes"), stated={"seen": True, "blank": False}) for _ in range(3)]
    answers.append(replace(free(2, "yes", "yes"), stated={"seen": True, "blank": True}))
    (stated,) = blind_answers.stated_figures(answers)
    assert (stated.stated["seen"].value, stated.stated["blank"].value) == (1.0, 0.25)


def test_a_figure_has_the_number_of_its_own_questions():
    rows = [free(1, "yes", "yes"), free(2, "no", "yes"), free(3, "left lung", "left lung")]
    numbers = {one.figure: one.n for one in blind_answers.mirage_scores(rows)}
    assert numbers == {"closedQuestionsAccuracy": 2, "openQuestionsRecall": 1}


def test_many_images_of_one_patient_tell_less_than_those_of_many():
    many = [free(number, "yes", "yes" if number < 10 else "no") for number in range(20)]
    one = [replace(each, patient="the same") for each in many]
    (wide,), (none,) = (tuple(blind_answers.clean_figures(each)) for each in (many, one))
    assert wide.all.interval[0] < 0.5 < wide.all.interval[1] and none.all.interval == (0.5, 0.5)


def test_the_other_image_is_of_the_same_kind_and_of_another_patient_where_there_is_one():
    given = [("a", "ct", "p"), ("b", "ct", "p"), ("c", "mri", "q"), ("d", "ct", "r"), ("e", "xray", "p")]
    asked = [
        EvaluationItem(
            Question(name, Path(name), "q", Task.VQA, Truth(""), language=EN, modality=Modality(kind)), "set", (9, 9)
        )
        for name, kind, _ in given
    ]
    others = blind_answers.images_of_others(asked, {name: patient for name, _, patient in given})
    assert {image.name: other.name for image, other in others.items()} == {
        "a": "d",  # b is of the same patient
        "b": "d",
        "c": "d",  # no other MRI: the next image of another patient
        "d": "a",
        "e": "c",
    }


# ---- no image at all ------------------------------------------------------------------------------------------------------


def test_every_refusal_counts_and_an_answer_does_not():
    refuses, answers = no_image.door_figures({"good": lambda _: True, "bad": lambda q: q != "b"}, ["a", "b"])
    assert (refuses.refused.value, answers.refused.value) == (1.0, 0.5)


def test_the_library_refuses_by_an_error_and_an_engine_that_imagines_an_image_fails():
    def no_picture(_):
        raise ImageError("images.empty_file")

    strict = SimpleNamespace(open=no_picture, ask=lambda image, question: "The liver is here.")
    mirage = SimpleNamespace(open=lambda _: None, ask=lambda image, question: "The liver is here.")
    assert no_image.library(strict)("locate the liver") and not no_image.library(mirage)("locate the liver")


def test_a_line_of_a_batch_without_an_image_is_refused():
    assert no_image.batch(SimpleNamespace())("locate the liver")


@pytest.mark.slow
def test_the_command_line_and_the_server_refuse_a_question_without_an_image():
    pytest.importorskip("starlette")
    assert no_image.command_line()("locate the liver")
    with no_image.chat(None) as chat:
        assert chat("locate the liver") and chat("请定位肝脏")


# ---- the right option hidden ----------------------------------------------------------------------------------------------

WRONG = ("glioma", "pituitary tumor")


@pytest.mark.parametrize(
    "said, outcome",
    [
        (Given("glioma", "glioma", labels=(("glioma", 0.9),)), hidden_option.STATED),
        (Given("glioma", "glioma", labels=(("glioma", 0.4),)), hidden_option.GUESSED),
        (Given("Perhaps: glioma.", "glioma", is_guess=True, labels=(("glioma", 0.9),)), hidden_option.GUESSED),
        (Given("meningioma", "meningioma", labels=(("meningioma", 0.9),)), hidden_option.ANOTHER),
        (Given("Not sure.", "left", is_guess=True), hidden_option.NOTHING),
        (Given("Not sure.", "glioma", 0.2, True, labels=(("glioma", 0.2),)), hidden_option.NOTHING),
        (Given("不确定。", "胶质瘤", 0.2, True), hidden_option.NOTHING),
        (Given(refusal="task.no_fitting_set"), hidden_option.NOTHING),
        (Given("Kind of image: MRI.", "Kind of image: MRI.", facts={"modality": "mri"}), hidden_option.ANOTHER),
    ],
)
def test_what_is_done_with_wrong_options(said, outcome):
    assert hidden_option.outcome(said, WRONG) == outcome


def test_a_package_that_always_chooses_states_a_wrong_option_every_time():
    def chooses(asked):
        first = asked.labels[0] if asked.labels else "glioma"
        return Given(first, first, labels=((first, 0.99),))

    rows = list(hidden_option.hidden_rows(Says(chooses), [record(labels=("meningioma",))]))
    by_way = {one.way: one for one in hidden_option.hidden_figures(rows)}
    assert by_way["labels"].outcomes["stated"].value == by_way["classes"].outcomes["stated"].value == 1.0
    assert by_way["labels"].usual.value == 1.0
    assert by_way["kinds"].outcomes["another"].value == 1.0  # "glioma" is no kind of image


def test_the_true_option_is_never_offered():
    asker = Says(lambda asked: Given(refusal="x"))
    list(hidden_option.hidden_rows(asker, [record(labels=("meningioma",))]))
    offered, named, kinds = [asked for asked in asker.asked if len(asked.labels) != 3]
    assert "meningioma" not in (*offered.labels, named.question) and "MRI" not in kinds.question


# ---- in other words -------------------------------------------------------------------------------------------------------


def located(box, label="liver"):
    return Given("", "", boxes=((label, box, 0.9),))


def agree(kind, english, chinese, label="liver"):
    one = Reworded(kind, record(), {EN: "liver", ZH: "肝脏"}, label)
    return rewordings.row_of(one, {EN: english, ZH: chinese}, str.casefold)


def test_the_same_box_in_every_wording_agrees_and_a_moved_one_does_not():
    same = agree("locate", [located(BOX)] * 5, [located(BOX, "肝脏")] * 5)
    assert same.agree == {"en": True, "zh": True, "both": True}
    moved = agree("locate", [located(BOX)] * 4 + [located(MOVED)], [located(BOX, "肝脏")] * 5)
    assert moved.agree == {"en": False, "zh": True, "both": False}
    missing = agree("locate", [located(BOX)] * 5, [located(BOX, "肝脏")] * 4 + [Given("未发现：肝脏。")])
    assert missing.agree == {"en": True, "zh": False, "both": False}


def test_each_language_may_agree_with_itself_and_not_with_the_other():
    row = agree(
        "presence", [Given(facts={"present": {"liver": True}})] * 5, [Given(facts={"present": {"liver": False}})] * 5
    )
    assert row.agree == {"en": True, "zh": True, "both": False} and row.is_answered


def test_a_class_means_the_same_in_both_languages():
    row = agree("class", [Given(labels=(("glioma", 0.9),))] * 5, [Given(labels=(("胶质瘤", 0.9),))] * 5)
    assert row.agree["both"]
    assert not agree("class", [Given(labels=(("glioma", 0.9),))] * 5, [Given(labels=(("脑膜瘤", 0.9),))] * 5).agree["both"]


def test_a_refusal_of_one_wording_is_no_agreement_and_is_counted():
    row = agree(
        "modality", [Given(facts={"modality": "mri"})] * 4 + [Given(refusal="task.x")], [Given(facts={"modality": "mri"})]
    )
    assert row.agree == {"en": False, "zh": True, "both": False} and not row.is_answered and row.answers_agree


def test_the_same_refusal_everywhere_agrees_but_is_no_answer_that_agrees():
    refused = agree("presence", [Given(refusal="task.x")] * 5, [Given(refusal="task.x")] * 5)
    one_left = agree("presence", [Given(words="a")] + [Given(refusal="task.x")] * 4, [Given(refusal="task.x")] * 5)
    differ = agree("presence", [Given(words="a")] + [Given(refusal="task.x")] * 4, [Given(words="b")] * 5)
    assert refused.agree["both"] and not refused.is_answered
    assert (refused.answers_agree, one_left.answers_agree, differ.answers_agree) == (None, None, False)
    (figures,) = rewordings.consistency_figures([refused, one_left, differ])
    assert (figures.n, figures.answers.n, figures.answers.value) == (3, 1, 0.0)
    (nothing,) = rewordings.consistency_figures([refused])
    assert nothing.answers is None


def test_shares_by_kind():
    one, other = (
        agree("modality", [Given(words="a")], [Given(words="a")]),
        agree("class", [Given(words="a")], [Given(words="b")]),
    )
    modality, classes = rewordings.consistency_figures([one, other])
    assert (modality.kind, modality.n, modality.answered.value) == ("modality", 1, 1.0)
    assert (modality.both.value, classes.both.value, classes.en.value) == (1.0, 0.0, 1.0)


def test_every_kind_has_five_different_wordings_in_both_languages():
    for kind, by_language in rewordings.wordings().items():
        for language in Language:
            assert len(set(by_language[language])) == 5, (kind, language)
            holds = ["{x}" in wording for wording in by_language[language]]
            assert all(holds) if kind in ("locate", "presence", "class") else not any(holds)


def test_every_wording_is_asked_in_its_language():
    liver = AnnotatedRegion("liver", "肝脏", (PixelBox(*BOX),))
    asker = Says(lambda asked: Given(refusal="x"))
    (question, *_) = [one for one in rewordings.reworded([record(regions=(liver,))]) if one.kind == "locate"]
    list(rewordings.consistency_rows(asker, [question]))
    assert [asked.language for asked in asker.asked] == [EN] * 5 + [ZH] * 5
    assert all("liver" in asked.question for asked in asker.asked[:5])
    assert all("肝脏" in asked.question for asked in asker.asked[5:])


# ---- from a box to its name and back --------------------------------------------------------------------------------------

LIVER = record(regions=(AnnotatedRegion("liver", "肝脏", (PixelBox(*BOX),)),))


def cycle(name="liver", back=BOX, again="liver"):
    names = iter([name, again])

    def says(asked):
        return located(back, name) if asked.task is Task.DETECT else Given(words=next(names))

    (made,) = box_cycle.cycle_rows(Says(says), [LIVER])
    return made


def test_a_box_that_comes_back_under_its_name():
    assert cycle().returns and cycle().name_right
    assert cycle(back=MOVED).returns  # IoU 0.8


def test_a_box_that_is_named_and_then_located_elsewhere_does_not_return():
    made = cycle(back=(120.0, 120.0, 190.0, 190.0))
    assert made.name_right and not made.box_returns and not made.returns


def test_a_wrong_name_may_return_and_another_name_for_the_box_that_was_found_does_not():
    two = Given("", "", boxes=(("liver", BOX, 0.4), ("liver", (120.0, 120.0, 190.0, 190.0), 0.9)))
    names = iter(["liver", "liver"])
    says = Says(lambda asked: two if asked.task is Task.DETECT else Given(words=next(names)))
    (nearest,) = box_cycle.cycle_rows(says, [LIVER])
    assert not nearest.box_returns  # the surest box counts, not the one nearest to the truth
    consistent = cycle(name="spleen", again="spleen")
    assert consistent.returns and not consistent.name_right
    assert not cycle(again="spleen").returns
    figures = box_cycle.cycle_figures([consistent, cycle(), cycle(again="spleen")])
    assert (figures.named_right.n, figures.returns.value) == (3, pytest.approx(2 / 3))
    assert (figures.returns_of_right.value, figures.returns_of_wrong.value) == (0.5, 1.0)


# ---- the result and its tables --------------------------------------------------------------------------------------------


def test_the_result_is_written_read_and_shown(tmp_path):
    rows = [free(1, "yes", "yes", blank="yes"), free(2, "no", "no", blank="yes")]
    said = [replace(each, stated={"seen": True, "blank": False, "other": True}) for each in rows]
    hidden = list(hidden_option.hidden_rows(Says(lambda _: Given(refusal="x")), [record(labels=("meningioma",))]))
    made = HonestyResult(
        date="2026-11-30",
        command="medrega bench honesty",
        environment=Environment("CPU", 2, 4.0, "Linux", "3.11", {"onnxruntime": "1.32.0"}),
        model=ModelIdentity("lite", "1", "int4", "ab" * 32),
        data=DataIdentity("data", "test", 2, 2, "cd"),
        most=5,
        mirage=tuple(blind_answers.mirage_scores(rows)),
        clean=tuple(blind_answers.clean_figures(rows)),
        stated=tuple(blind_answers.stated_figures(said)),
        no_image=tuple(no_image.door_figures({name: lambda _: True for name in honesty_tables.DOORS}, ["a"])),
        hidden=tuple(hidden_option.hidden_figures(hidden)),
        consistency=tuple(rewordings.consistency_figures([agree("class", [Given(words="a")], [Given(words="b")])])),
        cycle=box_cycle.cycle_figures([cycle()]),
    )
    path = tmp_path / "honesty.json"
    result_files.write(path, made)
    assert result_files.parse(HonestyResult, json.loads(path.read_text(encoding="utf-8")), path.name) == made
    shown = {name: table(made) for name, table in HONESTY_TABLES.items()}
    assert "| 100.0 (100.0 to 100.0) | 50.0 (" in shown["honesty-mirage"]
    assert "| 2 | 100.0 (100.0 to 100.0) | 1 | 100.0 (100.0 to 100.0) | 100.0" in shown["honesty-clean"]
    assert shown["honesty-no-image"].count("100.0 (100.0 to 100.0)") == 4
    assert "not sure, or refuses" in shown["honesty-hidden"] and "A, B or C | 1 |" in shown["honesty-rewordings"]
    assert "| the name is right | 1 | 100.0" in shown["honesty-cycle"]
    assert all(text.endswith("test split, 2 images.") for text in shown.values())


# ---- answers that were kept -----------------------------------------------------------------------------------------------


class Engine:
    package = SimpleNamespace(sha256="ab" * 32)

    def __init__(self):
        self.runs = 0

    def open(self, source):
        return source

    def request(self, image, text, **_):
        if text == "unknown":
            raise UsageError("task.no_known_name")
        return text

    def run(self, image, request, language):
        self.runs += 1
        return SimpleNamespace(
            text="Yes.",
            words="Yes.",
            warnings=(),
            labels=(),
            task=Task.VQA,
            guess=None,
            confidence=0.75,
            regions=(),
            facts={},
        )


def test_answers_are_asked_once_also_by_a_later_run_and_a_cut_line_is_asked_again(tmp_path):
    image = tmp_path / "a.png"
    image.write_bytes(b"pixels")
    asked, refused = Asked(image, "normal?", EN), Asked(image, "unknown", EN)
    engine = Engine()
    first = Asker(engine, tmp_path)
    assert first.ask(asked) == first.ask(asked) == Given("Yes.", "Yes.", 0.75)
    assert first.ask(refused).refusal == "task.no_known_name"
    (kept,) = tmp_path.glob("*-asked.jsonl")
    lines = kept.read_text(encoding="utf-8").splitlines(keepends=True)
    assert all("key" in json.loads(line) for line in lines) and engine.runs == 1
    kept.write_text(lines[1] + lines[0][:20], encoding="utf-8")
    second = Asker(engine, tmp_path)
    assert second.ask(refused) == first.ask(refused) and engine.runs == 1
    assert second.ask(asked) == first.ask(asked) and engine.runs == 2


@pytest.mark.parametrize(
    "line", ["5", "{}", "[]", '{"key": "a"}', '{"key": "a", "given": 5}', '{"key": "a", "given": {"words": 5}}', "\xe8\x82"]
)
def test_a_line_that_is_no_answer_is_left_out(tmp_path, line):
    image = tmp_path / "a.png"
    image.write_bytes(b"pixels")
    asked = Asked(image, "normal?", EN)
    engine = Engine()
    kept = tmp_path / f"{engine.package.sha256[:16]}-asked.jsonl"
    kept.write_bytes(line.encode("latin-1"))  # the last one is cut inside a Chinese character
    said = Asker(engine, tmp_path).ask(asked)
    assert Asker(engine, tmp_path).ask(asked) == said and engine.runs == 1  # a cut line does not swallow the next one


def test_answers_that_cannot_be_kept_are_refused_at_once(tmp_path):
    engine = Engine()
    (tmp_path / f"{engine.package.sha256[:16]}-asked.jsonl").mkdir()
    with raises_code(UsageError, "io.unwritable", reason="Is a directory"):
        Asker(engine, tmp_path)


def test_a_question_is_known_by_the_content_of_its_image_and_by_all_that_is_asked(tmp_path):
    one, same, other = (tmp_path / name for name in ("a.png", "b.png", "c.png"))
    for path, content in ((one, b"x"), (same, b"x"), (other, b"y")):
        path.write_bytes(content)
    keys = {
        Asked(path, "q", language, blank_size=size).key()
        for path in (one, same, other)
        for language in Language
        for size in (None, (2, 2))
    }
    assert len(keys) == 8
