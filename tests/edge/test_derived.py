"""Counts, sizes, sides, comparisons and distances follow from boxes, spacing and orientation; no model is asked."""

import dataclasses

import pytest

from medrega_edge.answer import Answer, ImageFacts, ModelFacts, Region, Timings
from medrega_edge.boxes import PixelBox
from medrega_edge.domain import Language, Modality, Task
from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.prompts.intent import Intent, Kind
from medrega_edge.tasks.about_image import KindOfImage
from medrega_edge.tasks.asked import Asked
from medrega_edge.tasks.derived import FromBoxes
from medrega_edge.tasks.detection import Detect
from medrega_edge.tasks.organs import VisibleOrgans
from medrega_edge.vocabulary.kind_names import KIND_NAMES
from medrega_edge.vocabulary.label_kinds import is_of_midline
from tests.codes import raises_code

LIVER, SPLEEN = ("liver", "肝脏"), ("spleen", "脾脏")
IMAGE = ImageFacts(None, 200, 100, Modality.CT, None, None, "0" * 64, spacing_mm=(0.5, 2.0), sides=("R", "A", "L", "P"))
BIG, SMALL = PixelBox(10, 10, 90, 60), PixelBox(150, 20, 170, 40)
NEARLY_BIG = PixelBox(10, 12, 88, 60)


def answer(*regions, image=IMAGE, language=Language.EN):
    return Answer(
        "", "", Task.DETECT, language, tuple(Region(*region) for region in regions), (), image,
        ModelFacts("m", "0", "0" * 64, "none"), "cpu", "stop", 1, 1, Timings(),
    )  # fmt: skip


def derived(kind, *regions, names=(LIVER, SPLEEN), **options):
    return FromBoxes(kind, names).finish(answer(*regions, **options))


BOTH = (("liver", BIG, 0.9), ("spleen", SMALL, 0.8))


def test_presence_is_that_of_boxes():
    found = derived(Kind.PRESENCE, ("liver", BIG, 0.9))
    assert found.facts == {"present": {"liver": True, "spleen": False}, "best_guesses": []}
    assert derived(Kind.PRESENCE, ("liver", BIG, 0.3)).facts["best_guesses"] == ["liver"]


def test_boxes_are_counted_by_name():
    found = derived(Kind.COUNT, *BOTH, ("spleen", BIG, 0.2))
    assert found.facts == {"count": 3, "counts": {"liver": 1, "spleen": 2}, "best_guesses": []}


def test_boxes_of_one_name_that_lie_on_one_another_count_once():
    inside, beside = PixelBox(20, 20, 40, 40), PixelBox(80, 10, 160, 60)
    spleens = [("spleen", box, score) for box, score in ((BIG, 0.9), (NEARLY_BIG, 0.8), (inside, 0.3), (beside, 0.2))]
    found = derived(Kind.COUNT, ("liver", BIG, 0.9), *spleens)
    assert found.facts["counts"] == {"liver": 1, "spleen": 2}
    assert [region.confidence for region in found.regions] == [0.9, 0.9, 0.2]


def test_a_body_has_one_left_lung_however_many_boxes_it_has():
    lung = (("left lung", "左肺"),)
    found = derived(Kind.COUNT, ("left lung", BIG, 0.9), ("left lung", SMALL, 0.8), names=lung)
    assert found.facts["counts"] == {"left lung": 1}
    assert [region.box for region in found.regions] == [BIG]
    ribs = derived(Kind.COUNT, ("left ribs", BIG, 0.9), ("left ribs", SMALL, 0.8), names=(("left ribs", "左侧肋骨"),))
    assert ribs.facts["count"] == 2


def test_a_comparison_of_guesses_is_none_where_one_lies_in_the_other():
    inside = PixelBox(20, 20, 40, 40)
    nested = derived(Kind.COMPARE, ("liver", BIG, 0.3), ("spleen", inside, 0.3))
    assert nested.facts["order"] is None and "not compared" in nested.text
    apart = derived(Kind.COMPARE, ("liver", BIG, 0.3), ("spleen", SMALL, 0.9))
    assert apart.facts["order"] == ["liver", "spleen"] and "If these boxes are right" in apart.text
    sure = derived(Kind.COMPARE, ("liver", BIG, 0.9), ("spleen", inside, 0.9))  # a gallbladder lies in the liver's box
    assert sure.facts["order"] == ["liver", "spleen"]


def test_a_weak_box_leaves_it_open_whether_a_name_is_there():
    found = derived(Kind.PRESENCE, ("liver", BIG, 0.07), ("spleen", SMALL, 0.3))
    assert "Perhaps: spleen." in found.text and "neither shown nor ruled out: liver" in found.text
    assert found.facts["best_guesses"] == ["liver", "spleen"]


def test_sizes_are_in_millimetres():
    found = derived(Kind.MEASURE, *BOTH)
    assert found.facts["sizes"][0] == {"name": "liver", "width_mm": 40.0, "height_mm": 100.0, "unit": "mm"}


@pytest.mark.parametrize("language", Language)
def test_without_the_size_of_a_pixel_lengths_are_in_pixels(language):
    image = dataclasses.replace(IMAGE, spacing_mm=None)
    size = derived(Kind.MEASURE, *BOTH, image=image)
    assert size.facts["sizes"][0] == {"name": "liver", "width_px": 80.0, "height_px": 50.0, "unit": "px"}
    assert size.facts["pixels_because"] == ["no_spacing"]
    distance = derived(Kind.DISTANCE, *BOTH, image=image)
    assert distance.facts == {
        "distance_mm": None, "distance_px": 110.1, "gap_px": 60.0, "unit": "px", "pixels_because": ["no_spacing"],
        "best_guesses": [],
    }  # fmt: skip
    region = (LIVER[language is Language.ZH], BIG, 0.9)
    assert (
        Message("answer.pixels_no_spacing").text(language)
        in derived(Kind.MEASURE, region, names=(LIVER,), image=image, language=language).text
    )


@pytest.mark.parametrize("kind", [Kind.MEASURE, Kind.SIDE, Kind.COMPARE, Kind.DISTANCE, Kind.COUNT])
@pytest.mark.parametrize("language", Language)
def test_what_follows_from_a_best_guess_says_so(kind, language):
    column = language is Language.ZH
    found = derived(kind, (LIVER[column], BIG, 0.9), (SPLEEN[column], SMALL, 0.3), language=language)
    guessed = Message("answer.best_guess", names=[SPLEEN[column]]).text(language)
    counted = Message("answer.count_all_guessed", name=SPLEEN[column], count=1).text(language)
    assert (counted if kind is Kind.COUNT else guessed) in found.text
    assert LIVER[column] not in guessed
    assert found.facts["best_guesses"] == ["spleen"]
    assert [region["best_guess"] for region in found.to_dict()["regions"]] == [False, True]


@pytest.mark.parametrize("kind", [Kind.MEASURE, Kind.SIDE, Kind.COMPARE, Kind.DISTANCE, Kind.COUNT])
def test_from_a_box_that_is_hardly_ever_right_nothing_follows(kind):
    found = derived(kind, BOTH[0], ("spleen", SMALL, 0.09))
    assert Message("answer.too_uncertain", names=["spleen"]).text(Language.EN) in found.text
    assert [region.label for region in found.regions] == ["liver"]
    values = str(found.facts)
    assert "'spleen': 0" in values if kind is Kind.COUNT else "spleen" not in values


def test_a_best_guess_beside_a_certain_box_has_no_side_of_its_own():
    found = derived(Kind.SIDE, ("spleen", SMALL, 0.9), ("spleen", BIG, 0.3), names=(SPLEEN,))
    assert found.facts["sides"] == {"spleen": ["left"]}


@pytest.mark.parametrize(
    ("sides", "modality", "side", "assumed"),
    [
        (("R", "A", "L", "P"), Modality.CT, "right", False),
        (("L", "A", "R", "P"), Modality.CT, "left", False),
        (None, Modality.XRAY, "right", True),
        (None, Modality.DERMOSCOPY, "left", True),
    ],
)
def test_sides_are_those_of_the_patient(sides, modality, side, assumed):
    image = dataclasses.replace(IMAGE, sides=sides, modality=modality)
    found = derived(Kind.SIDE, ("liver", BIG, 0.9), names=(LIVER,), image=image)
    assert found.facts == {"sides": {"liver": [side]}, "assumed": assumed, "best_guesses": []}


@pytest.mark.parametrize(
    ("side", "sides", "present"),
    [
        ("right", ("R", "A", "L", "P"), True),
        ("left", ("R", "A", "L", "P"), False),
        ("left", ("L", "A", "R", "P"), True),
        ("left", ("A", "H", "P", "F"), True),  # a view from the side
    ],
)
def test_a_finding_on_the_other_side_is_none_on_this_one(side, sides, present):
    stone = ("kidney stone", "肾结石")
    asked = Asked("?", Intent(Kind.PRESENCE, (stone,), side=side), FromBoxes(Kind.PRESENCE, (stone,)))
    found = asked.finish(answer(("kidney stone", BIG, 0.9), image=dataclasses.replace(IMAGE, sides=sides)))
    assert found.facts["present"] == {"kidney stone": present}
    assert ("task.other_side" in [warning.code for warning in found.warnings]) is not present


def test_a_box_in_the_middle_is_on_no_side():
    found = derived(Kind.SIDE, ("liver", PixelBox(90, 10, 112, 60), 0.9), names=(LIVER,))
    assert found.facts["sides"] == {"liver": ["middle"]}


def test_a_structure_of_the_midline_is_in_the_middle_wherever_a_view_shows_it():
    disc = ("intervertebral disc", "椎间盘")
    assert derived(Kind.SIDE, ("intervertebral disc", BIG, 0.9), names=(disc,)).facts["sides"] == {disc[0]: ["middle"]}
    assert [is_of_midline(label) for label in ("bladder", "L5 vertebra", "gallbladder", "optic disc")] == [
        True,
        True,
        False,
        False,
    ]


def test_a_view_from_the_side_has_no_left_and_right():
    with raises_code(UsageError, "task.no_sides"):
        derived(Kind.SIDE, *BOTH, image=dataclasses.replace(IMAGE, sides=("A", "H", "P", "F")))


def test_areas_are_compared():
    assert derived(Kind.COMPARE, *BOTH).facts == {"order": ["liver", "spleen"], "ratio": 10.0, "best_guesses": []}
    assert derived(Kind.COMPARE, BOTH[0]).facts == {"order": None}


def test_distances_are_in_millimetres():
    found = derived(Kind.DISTANCE, *BOTH)
    assert found.facts == {"distance_mm": 55.9, "gap_mm": 30.0, "unit": "mm", "best_guesses": []}
    assert derived(Kind.DISTANCE, BOTH[0]).facts == {"distance_mm": None}


def test_an_answer_is_in_its_language():
    found = derived(Kind.COUNT, ("肝脏", BIG, 0.9), language=Language.ZH)
    assert found.facts["counts"] == {"liver": 1, "spleen": 0}
    assert "肝脏" in found.text


def test_visible_organs_are_the_best_boxes_with_some_confidence():
    found = VisibleOrgans().finish(answer(("liver", BIG, 0.6), ("liver", SMALL, 0.9)))
    assert found.facts == {"visible": ["liver"], "best_guesses": []}
    assert found.regions == (Region("liver", SMALL, 0.9),)


def test_the_kind_of_image_is_a_fact():
    assert KindOfImage().finish(answer()).facts == {"modality": "ct"}


def test_an_answer_says_how_the_question_was_understood():
    intent = Intent(Kind.COUNT, (LIVER,), ("tumour",), {"livr": "liver"})
    asked = Asked("how many livr?", intent, FromBoxes(Kind.COUNT, (LIVER,))).finish(answer(("liver", BIG, 0.9)))
    assert asked.intent == "count"
    assert asked.facts == {
        "names": ["liver"], "generic": ["tumour"], "typos": {"livr": "liver"}, "count": 1, "counts": {"liver": 1},
        "best_guesses": [],
    }  # fmt: skip
    assert asked.reading.startswith("count: liver")


def test_every_kind_of_question_has_a_name_in_both_languages():
    assert KIND_NAMES.keys() == {*Kind, *Task} - {Kind.HELP, Kind.IMPOSSIBLE}
    assert not any(name.text(Language.ZH).isascii() for name in KIND_NAMES.values())


@pytest.mark.parametrize(("confidence", "is_stated"), [(0.0, False), (0.49, False), (0.5, True), (None, True)])
def test_only_a_region_of_some_confidence_is_stated(confidence, is_stated):
    said = derived(Kind.PRESENCE, ("liver", BIG, confidence), names=(LIVER,))
    assert said.facts == {"present": {"liver": True}, "best_guesses": [] if is_stated else ["liver"]}
    assert said.text.startswith("Yes") is is_stated


@pytest.mark.parametrize(("confidence", "text"), [(0.74, "Yes, probably: liver."), (0.75, "Yes, found: liver.")])
def test_what_is_likely_is_no_more_than_probable(confidence, text):
    assert derived(Kind.PRESENCE, ("liver", BIG, confidence), names=(LIVER,)).text == text


TUMOURS = (("glioma", "胶质瘤"), ("meningioma", "脑膜瘤"), ("pituitary tumor", "垂体瘤"))


def generic(kind, *regions, language=Language.EN):
    request = FromBoxes(kind, TUMOURS) if kind is not Kind.LOCATE else Detect([english for english, _ in TUMOURS])
    asked = Asked("any tumour?", Intent(kind, TUMOURS, ("tumour",)), request)
    return asked.finish(answer(*regions, language=language))


@pytest.mark.parametrize("kind", [Kind.LOCATE, Kind.PRESENCE, Kind.COUNT, Kind.MEASURE, Kind.SIDE])
def test_labels_of_a_generic_word_on_one_place_are_one_object(kind):
    found = generic(kind, ("glioma", BIG, 0.8), ("meningioma", NEARLY_BIG, 0.9), ("pituitary tumor", NEARLY_BIG, 0.2))
    assert [region.label for region in found.regions] == ["meningioma"]
    assert "glioma" in found.text
    assert "pituitary" not in found.text


def test_labels_of_a_generic_word_on_two_places_are_two_objects():
    found = generic(
        Kind.COUNT, ("脑膜瘤", SMALL, 0.9), ("胶质瘤", BIG, 0.8), ("垂体瘤", NEARLY_BIG, 0.7), language=Language.ZH
    )
    assert found.facts["counts"] == {"glioma": 1, "meningioma": 1}
    assert "垂体瘤" in found.text


@pytest.mark.parametrize("kind", [Kind.LOCATE, Kind.PRESENCE])
def test_no_label_of_a_generic_word_is_said_once(kind):
    assert generic(kind).text.count("glioma") == 1


def test_of_a_pair_the_nearer_organ_counts_for_a_distance():
    names = (LIVER, ("left kidney", "左肾"), ("right kidney", "右肾"))
    question = Asked("how far?", Intent(Kind.DISTANCE, names=names), FromBoxes(Kind.DISTANCE, names))
    far, near = PixelBox(180, 10, 190, 20), PixelBox(100, 10, 110, 20)
    found = question.finish(answer(("liver", BIG, 0.9), ("left kidney", far, 0.9), ("right kidney", near, 0.8)))
    assert found.text.startswith("Liver to right kidney: ")
    only = question.finish(answer(("liver", BIG, 0.9), ("left kidney", far, 0.9)))
    assert only.text.startswith("Liver to left kidney: ")
