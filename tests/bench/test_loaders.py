"""SLAKE, VQA-RAD and COCO as they are published, and what holds for every layout."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from medrega_bench.datasets.loaders import LAYOUTS, read_source
from medrega_edge.boxes import PixelBox
from medrega_edge.domain import Language
from medrega_edge.errors import UsageError

from .layouts import HEADER, coco, picture, said, sample, slake, write

# --- SLAKE


def test_slake(tmp_path):
    image = picture(tmp_path / "imgs" / "xmlab0" / "source.jpg")
    rows = [slake(), slake(q_lang="zh", question="肝脏健康吗？", answer="健康", modality="X-Ray"), slake(answer="")]
    made, left_out = read_source("slake", write(tmp_path / "test.json", rows))
    assert [(one.id, one.image, one.setting, one.truth.text, one.modality) for one in made] == [
        ("slake/test/1", image, "vqa_en", "MRI", "mri"),
        ("slake/test/2", image, "vqa_zh", "健康", "xray"),
    ]
    assert [(str(one.place), one.reason.code) for one in left_out] == [("Entry 3 of 'test.json'", "bench.empty_answer")]


@pytest.mark.parametrize(
    ("row", "code", "params"),
    [
        ({"q_lang": "en"}, "bench.needs_text", {"key": "modality"}),
        (slake(q_lang="fr"), "bench.unknown_word", {"word": "fr", "key": "q_lang", "known": ("en", "zh")}),
        (slake(img_name="no.jpg"), "bench.image_missing", {"folder": "imgs"}),
        (slake(answer=None), "bench.needs_text", {"key": "answer"}),
        ([1], "bench.not_an_object", {}),
    ],
)
def test_a_bad_entry_is_named_with_its_number(tmp_path, row, code, params):
    picture(tmp_path / "imgs" / "xmlab0" / "source.jpg")
    with pytest.raises(UsageError) as caught:
        read_source("slake", write(tmp_path / "test.json", [slake(), row]))
    assert said(caught) == (code, "Entry 2 of 'test.json'", params)


def test_a_bad_entry_in_words(tmp_path):
    with pytest.raises(UsageError) as caught:
        read_source("slake", write(tmp_path / "test.json", [slake(q_lang="fr")]))
    assert str(caught.value) == "Entry 1 of 'test.json' has 'fr' as 'q_lang', which is none of: en, zh."
    assert caught.value.message.text(Language.ZH) == "'test.json' 的第 1 个条目的 'q_lang' 为 'fr'；只可为：en、zh。"


@pytest.mark.parametrize(
    ("text", "code"),
    [("{broken", "bench.not_json"), ('{"a": 1}', "bench.not_a_list")],
)
def test_a_file_that_is_no_list_is_named(tmp_path, text, code):
    with pytest.raises(UsageError) as caught:
        read_source("slake", write(tmp_path / "x.json", text))
    assert (caught.value.code, caught.value.message.params["file"]) == (code, "x.json")


# --- VQA-RAD


def test_vqa_rad_and_its_splits(tmp_path):
    picture(tmp_path / "VQA_RAD Image Folder" / "synpic1.jpg")
    base = {"image_name": "synpic1.jpg", "image_organ": "CHEST", "question": "How many?", "answer_type": "OPEN"}
    rows = [
        base | {"qid": 1, "phrase_type": "freeform", "answer": 2},  # a number, as in the published file
        base | {"qid": 2, "phrase_type": "test_para", "answer": "Yes"},
    ]
    path = write(tmp_path / "VQA_RAD Dataset Public.json", rows)
    assert [(one.id, one.truth.text) for one in read_source("vqa-rad", path)[0]] == [
        ("vqa-rad/1", "2"),
        ("vqa-rad/2", "Yes"),
    ]
    assert [one.id for one in read_source("vqa-rad", path, split="test")[0]] == ["vqa-rad/2"]
    assert [one.id for one in read_source("vqa-rad", path, split="train")[0]] == ["vqa-rad/1"]
    with pytest.raises(UsageError) as caught:
        read_source("vqa-rad", path, split="val")
    assert said(caught) == ("bench.vqa_rad_split", "", {"split": "val"})


# --- COCO


def test_coco_boxes_become_corners_and_one_question_a_category(tmp_path):
    picture(tmp_path / "a.png")
    made, left_out = read_source("coco", write(tmp_path / "instances.json", coco()))
    lesion, liver = made
    assert lesion.question == "locate the lesion"
    assert lesion.setting == "single_object_multi_region"
    assert lesion.truth.regions[0].boxes == (PixelBox(20, 10, 100, 50), PixelBox(150, 60, 200, 100))
    assert lesion.truth.text == "<ref>lesion</ref><box>[[100, 100, 500, 500], [749, 599, 999, 999]]</box>"
    assert (liver.question, liver.language, liver.setting) == ("请定位肝脏", Language.ZH, "single_object_single_region")
    assert [one.reason.code for one in left_out] == ["bench.no_boxes"]


def test_a_crowd_is_no_object_and_said(tmp_path):
    picture(tmp_path / "a.png")
    crowd = {"id": 4, "image_id": 7, "category_id": 1, "bbox": [0, 0, 9, 9], "iscrowd": 1}
    made, left_out = read_source("coco", write(tmp_path / "x.json", coco(annotations=[*coco()["annotations"], crowd])))
    assert [one.question for one in made] == ["请定位肝脏"]
    assert "bench.crowd" in {one.reason.code for one in left_out}


@pytest.mark.parametrize(
    ("annotation", "code", "place", "params"),
    [
        ({"image_id": 9, "bbox": [0, 0, 1, 1]}, "bench.not_listed", "Annotation 1 of 'x.json'", {}),
        ({"image_id": 7, "bbox": [0, 0, 1]}, "bench.four_numbers", "Annotation 1 of 'x.json'", {"key": "bbox"}),
        ({"image_id": 7, "bbox": [0, 0, 0, 5]}, "bench.box_corners", "Image 1 of 'x.json'", {"box": (0, 0, 0, 5)}),
        (
            {"image_id": 7, "bbox": [300, 0, 9, 9]},
            "bench.box_outside",
            "Image 1 of 'x.json'",
            {"box": (300, 0, 309, 9), "width": 200, "height": 100},
        ),
    ],
)
def test_a_bad_annotation_is_named(tmp_path, annotation, code, place, params):
    picture(tmp_path / "a.png")
    with pytest.raises(UsageError) as caught:
        read_source("coco", write(tmp_path / "x.json", coco(annotations=[{"category_id": 1} | annotation])))
    assert said(caught) == (code, place, params)


def test_two_images_with_one_id_are_named(tmp_path):
    with pytest.raises(UsageError) as caught:
        read_source("coco", write(tmp_path / "x.json", coco(images=[coco()["images"][0]] * 2)))
    assert said(caught) == ("bench.same_id", "Image 2 of 'x.json'", {})


def test_a_file_without_cocos_parts_is_named(tmp_path):
    with pytest.raises(UsageError) as caught:
        read_source("coco", write(tmp_path / "x.json", {"images": []}))
    assert said(caught) == ("bench.not_coco", "", {"file": "x.json"})


# --- all of them


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name not in ("records", "vqa-rad")])
def test_a_layout_without_splits_says_so(tmp_path, layout):
    with pytest.raises(UsageError) as caught:
        read_source(layout, tmp_path / "x", split="test")
    assert caught.value.code == "bench.split_is_a_file"


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "records"])
def test_a_file_that_is_not_there_is_named_without_its_folder(tmp_path, layout):
    with pytest.raises(UsageError) as caught:
        read_source(layout, tmp_path / ("nowhere.csv" if layout == "csv" else "nowhere.json"))
    assert caught.value.code == "bench.data_unreadable"
    assert caught.value.message.params["file"].startswith("nowhere.")
    assert str(tmp_path) not in str(caught.value)


def test_an_unknown_layout_is_named(tmp_path):
    with pytest.raises(UsageError) as caught:
        read_source("dicom", tmp_path)
    assert said(caught) == ("bench.no_layout", "", {"layout": "dicom", "layouts": tuple(LAYOUTS)})


KEYS = (
    "image", "img_name", "image_name", "question", "answer", "q_lang", "modality", "phrase_type", "conversations", "from",
    "value", "images", "annotations", "categories", "id", "image_id", "category_id", "bbox", "file_name", "name",
)  # fmt: skip
JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["a.png", "en", "human"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=12,
)


@pytest.mark.slow
@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rubbish_is_an_error_of_one_sentence_or_left_out(tmp_path, data):
    picture(tmp_path / "a.png")
    layout = data.draw(st.sampled_from(["slake", "vqa-rad", "coco", "medreginstruct"]))
    known = {"slake": slake(), "vqa-rad": slake(), "coco": coco(), "medreginstruct": sample("<image>q", "a")}[layout]
    junk = data.draw(st.dictionaries(st.sampled_from(sorted({*known, *KEYS})), JUNK, max_size=4))
    row = known | junk
    path = write(tmp_path / ("x.jsonl" if layout == "medreginstruct" else "x.json"), row if layout == "coco" else [row])
    if layout == "medreginstruct":
        write(path, json.dumps(row))
    try:
        read_source(layout, path, tmp_path)
    except UsageError as error:
        assert "\n" not in str(error)


# --- the frame of the boxes


@pytest.mark.parametrize(
    ("size", "orientation", "stated", "code"),
    [
        ((200, 100), 1, (200, 100), None),
        ((200, 100), 1, (100, 200), "bench.other_size"),
        ((200, 100), 1, (400, 200), "bench.other_size"),
        ((200, 100), 6, (100, 200), None),  # drawn after the turn, as the picture is read
        ((200, 100), 6, (200, 100), "bench.other_size"),  # drawn before
        ((200, 100), 3, (200, 100), "bench.turned_image"),  # before or after: the size does not show it
        ((100, 100), 6, (100, 100), "bench.turned_image"),
        ((200, 100), 6, None, "bench.turned_image"),
        ((200, 100), 1, None, None),
    ],
)
def test_boxes_lie_in_the_picture_as_it_is_read(tmp_path, size, orientation, stated, code):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("L", size, 90).save(tmp_path / "a.jpg", exif=exif)
    one = {"id": 7, "file_name": "a.jpg"} | (dict(zip(("width", "height"), stated, strict=True)) if stated else {})
    data = coco(images=[one], annotations=[{"id": 1, "image_id": 7, "category_id": 1, "bbox": [5, 6, 7, 8]}])
    path = write(tmp_path / "x.json", data)
    if code is None:
        assert read_source("coco", path)[0][0].truth.regions[0].boxes == (PixelBox(5, 6, 12, 14),)
        return
    with pytest.raises(UsageError) as caught:
        read_source("coco", path)
    assert caught.value.code == code


def test_the_box_of_a_question_lies_in_the_picture_as_it_is_read(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.new("L", (200, 100), 90).save(tmp_path / "a.png", exif=exif)
    path = write(tmp_path / "q.csv", f'{HEADER}\na.png,q,a,identify,,"1,2,3,4",')
    with pytest.raises(UsageError) as caught:
        read_source("csv", path)
    assert caught.value.code == "bench.turned_image"


def test_shares_of_a_side_fit_a_scaled_picture_and_no_turned_one(tmp_path):
    picture(tmp_path / "a.png", 100, 50)
    found = "<ref>lung</ref><box>[[0, 0, 999, 999]]</box>"
    for width, height, code in ((200, 100, None), (100, 200, "bench.other_size")):
        path = write(tmp_path / "x.jsonl", json.dumps(sample("<image>\nx", found, width=width, height=height)))
        if code is None:
            assert read_source("medreginstruct", path)[0][0].truth.regions[0].boxes == (PixelBox(0, 0, 100, 50),)
            continue
        with pytest.raises(UsageError) as caught:
            read_source("medreginstruct", path)
        assert caught.value.code == code
