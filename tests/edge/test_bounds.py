"""Sizes and numbers held against a bound: yes, no, not sure, or not known without the size of a pixel."""

import dataclasses

import pytest

from medrega_edge.answer import BoxInterval
from medrega_edge.boxes import PixelBox
from medrega_edge.domain import Modality
from medrega_edge.prompts.intent import Kind
from medrega_edge.tasks.asked import Asked
from medrega_edge.tasks.bounds import Bound, bound_in, compares_numbers
from medrega_edge.tasks.derived import FromBoxes
from tests.edge.test_derived import BIG, IMAGE, SMALL, answer

TUMOR, RED, WHITE = ("tumor", "肿瘤"), ("red blood cell", "红细胞"), ("white blood cell", "白细胞")
WITHOUT_SPACING = dataclasses.replace(IMAGE, spacing_mm=None)


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("is the tumor bigger than 3 cm?", Bound(30, "mm", ">")),
        ("is it smaller than 5mm", Bound(5, "mm", "<")),
        ("is the spleen wider than 5 cm?", Bound(50, "mm", ">", axis="width")),
        ("is the liver over 100 px?", Bound(100, "px", ">")),
        ("tumor of at least two centimetres?", Bound(20, "mm", ">=")),
        ("肿瘤有没有超过3厘米", Bound(30, "mm", ">")),
        ("肿瘤没超过三厘米吧", Bound(30, "mm", "<=")),
        ("不超过3厘米吗", Bound(30, "mm", "<=")),
        ("is it no more than 3 cm?", Bound(30, "mm", "<=")),
        ("isn't the tumor larger than 3 cm?", Bound(30, "mm", "<=")),
        ("at most three polyps?", Bound(3, "", "<=")),
        ("结节不小于5毫米吗", Bound(5, "mm", ">=")),
        ("is the high density lesion over 3 cm?", Bound(30, "mm", ">")),
        ("man over 50 years, how many polyps?", None),
        ("女，超过50岁，有几个息肉", None),
        ("结节小于5毫米吗", Bound(5, "mm", "<")),
        ("3厘米以上吗", Bound(30, "mm", ">=")),
        ("are there more than ten cells?", Bound(10, "", ">")),
        ("红细胞超过10个吗", Bound(10, "", ">")),
        ("fewer than 3 polyps?", Bound(3, "", "<")),
        ("how big is the tumor in cm?", None),
        ("is the liver bigger than the spleen?", None),
        ("65 year old, tumor 3 cm last year", None),
    ],
)
def test_a_bound_is_read_from_a_question(text, bound):
    assert bound_in(text) == bound


def held(bound, *regions, kind=Kind.MEASURE, names=(TUMOR,), **options):
    return FromBoxes(kind, names, bound=bound).finish(answer(*regions, **options))


@pytest.mark.parametrize(
    ("box", "bound", "met"),
    [  # of 0.5 by 2 mm a pixel: BIG is 40 by 100 mm, its diagonal 107.7
        (BIG, Bound(99, "mm", ">"), True),
        (BIG, Bound(108, "mm", ">"), False),
        (BIG, Bound(104, "mm", ">"), None),
        (BIG, Bound(108, "mm", "<"), True),
        (BIG, Bound(99, "mm", "<"), False),
        (BIG, Bound(39, "mm", ">", axis="width"), True),
        (BIG, Bound(41, "mm", ">", axis="width"), False),
        (BIG, Bound(79, "px", ">"), True),
        (BIG, Bound(40, "mm", "<=", axis="width"), True),
        (BIG, Bound(40, "mm", "<", axis="width"), False),
    ],
)
def test_a_size_is_held_against_a_bound(box, bound, met):
    assert held(bound, ("tumor", box, 0.9)).facts["bound"]["met"] == {"tumor": met}


def test_an_interval_that_holds_the_bound_leaves_it_open():
    interval = BoxInterval(0.9, None, BIG, (60.0, 100.0), (30.0, 80.0))
    wide = answer(("tumor", BIG, 0.9))
    wide = dataclasses.replace(wide, regions=tuple(dataclasses.replace(one, interval=interval) for one in wide.regions))
    for value, met in ((59, True), (99, None), (200, False)):
        finished = FromBoxes(Kind.MEASURE, (TUMOR,), bound=Bound(value, "mm", ">")).finish(wide)
        assert finished.facts["bound"]["met"] == {"tumor": met}


def test_the_largest_of_several_boxes_counts():
    text = held(Bound(99, "mm", ">"), ("tumor", SMALL, 0.9), ("tumor", BIG, 0.8)).text
    assert text.startswith("Tumor over 99 mm: yes.")


def test_without_the_size_of_a_pixel_millimetres_are_not_known():
    finished = held(Bound(30, "mm", ">"), ("tumor", BIG, 0.9), image=WITHOUT_SPACING)
    assert finished.text.startswith("Tumor over 30 mm: not known") and finished.facts["bound"]["met"] == {"tumor": None}


def test_a_best_guess_says_so():
    text = held(Bound(99, "mm", ">"), ("tumor", BIG, 0.2)).text
    assert "Tumor over 99 mm: yes, if the box is right." in text


@pytest.mark.parametrize(("name", "at_most"), [(RED, None), (WHITE, True)])
def test_numbers_that_guesses_or_missed_ones_could_turn_round_are_open(name, at_most):
    cells = [(name[0], PixelBox(place, 0, place + 9, 9), 0.9) for place in (0, 10, 20)]
    guess = (name[0], PixelBox(30, 0, 39, 9), 0.2)
    bounds = ((">", 2, True), (">", 3, None), ("<=", 4, at_most), ("<=", 2, False))
    for sign, value, met in bounds:
        found = held(Bound(value, "", sign), *cells, guess, kind=Kind.COUNT, names=(name,))
        assert found.facts["bound"]["met"] == {name[0]: met}


def test_two_numbers_are_compared():
    cells = [("red blood cell", PixelBox(place, 0, place + 9, 9), 0.9) for place in (0, 10)]
    white = ("white blood cell", PixelBox(50, 0, 80, 30), 0.9)
    more = FromBoxes(Kind.COUNT, (WHITE, RED), compares_numbers=True)
    assert more.finish(answer(*cells, white)).facts["more"] == "red blood cell"
    assert more.finish(answer(cells[0], white)).facts["more"] is None
    guess = (*cells[1][:2], 0.2)
    assert "If all these boxes are right" in more.finish(answer(cells[0], guess, white)).text


@pytest.mark.parametrize(
    ("text", "modality", "kind"),
    [
        ("is the spleen over 100 px?", Modality.CT, Kind.MEASURE),
        ("脾脏有没有超过12厘米", Modality.CT, Kind.MEASURE),
        ("are there more than 3 red cells?", Modality.PATHOLOGY, Kind.COUNT),
    ],
)
def test_a_question_with_a_bound_gets_it(parse, text, modality, kind):
    asked = parse(text, modality)
    assert isinstance(asked, Asked) and asked.request.kind is kind and asked.request.bound is not None


def test_more_of_one_than_of_another_is_a_comparison_of_numbers(parse):
    for text in ("are there more red cells than platelets?", "红细胞比血小板多吗"):
        assert compares_numbers(text) and parse(text, Modality.PATHOLOGY).request.compares_numbers
    assert not compares_numbers("is the spleen more visible?")


def test_a_number_that_may_be_of_either_name_is_left_out_with_a_word(parse):
    asked = parse("red cells and platelets, more than three?", Modality.PATHOLOGY)
    assert asked.request.bound is None
    assert [note.params["words"] for note in asked.notes if note.code == "task.words_left_out"] == [("over 3",)]
