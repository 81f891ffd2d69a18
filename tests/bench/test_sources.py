"""Small files in the layouts that are read, written here after the layouts' published descriptions."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from medrega_bench.cli import bench_app
from medrega_bench.score import SETTINGS, answered_items, score
from medrega_bench.sources import LAYOUTS, read_source
from medrega_edge.errors import UsageError
from medrega_edge.prompts import Language, Task
from medrega_edge.regions import PixelBox


def picture(path, width=200, height=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (width, height), 90).save(path)
    return path


def write(path, data):
    path.write_text(data if isinstance(data, str) else json.dumps(data, ensure_ascii=False), encoding="utf-8")
    return path


def lines(*rows):
    return "\n".join(row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows)


KEYS = (
    "image", "img_name", "image_name", "question", "answer", "q_lang", "modality", "phrase_type", "conversations", "from",
    "value", "images", "annotations", "categories", "id", "image_id", "category_id", "bbox", "file_name", "name",
)  # fmt: skip

# --- SLAKE


def slake(**changes):
    row = {
        "img_id": 0, "img_name": "xmlab0/source.jpg", "question": "What modality is used?", "answer": "MRI", "q_lang": "en",
        "location": "Abdomen", "modality": "MRI", "answer_type": "OPEN", "base_type": "vqa", "content_type": "Modality",
        "triple": ["vhead", "_", "_"], "qid": 9,
    }  # fmt: skip
    return row | changes


def test_slake(tmp_path):
    image = picture(tmp_path / "imgs" / "xmlab0" / "source.jpg")
    rows = [slake(), slake(q_lang="zh", question="肝脏健康吗？", answer="健康", modality="X-Ray"), slake(answer="")]
    made, left_out = read_source("slake", write(tmp_path / "test.json", rows))
    assert [(one.id, one.image, one.setting, one.text, one.modality) for one in made] == [
        ("slake/test/1", image, "vqa_en", "MRI", "mri"),
        ("slake/test/2", image, "vqa_zh", "健康", "xray"),
    ]
    assert [(one.place, one.reason) for one in left_out] == [("Entry 3 of 'test.json'", "an empty answer")]


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"q_lang": "en"}, r"Entry 2 of 'test.json' needs text as modality\."),
        (slake(q_lang="fr"), r"Entry 2 of 'test.json' has 'fr' as q_lang, which is none of: en, zh\."),
        (
            slake(img_name="no.jpg"),
            r"Entry 2 of 'test.json' names an image that is not in 'imgs'; name its folder with --images\.",
        ),
        (slake(answer=None), r"Entry 2 of 'test.json' needs text as answer\."),
        ([1], r"Entry 2 of 'test.json' is no JSON object\."),
    ],
)
def test_a_bad_entry_is_named_with_its_number(tmp_path, row, sentence):
    picture(tmp_path / "imgs" / "xmlab0" / "source.jpg")
    with pytest.raises(UsageError, match=sentence):
        read_source("slake", write(tmp_path / "test.json", [slake(), row]))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{broken", r"'x.json' cannot be read as JSON"),
        ('{"a": 1}', r"'x.json' needs a list where its entry entries stand\."),
    ],
)
def test_a_file_that_is_no_list_is_named(tmp_path, text, sentence):
    with pytest.raises(UsageError, match=sentence):
        read_source("slake", write(tmp_path / "x.json", text))


# --- VQA-RAD


def test_vqa_rad_and_its_splits(tmp_path):
    picture(tmp_path / "VQA_RAD Image Folder" / "synpic1.jpg")
    base = {"image_name": "synpic1.jpg", "image_organ": "CHEST", "question": "How many?", "answer_type": "OPEN"}
    rows = [
        base | {"qid": 1, "phrase_type": "freeform", "answer": 2},  # a number, as in the published file
        base | {"qid": 2, "phrase_type": "test_para", "answer": "Yes"},
    ]
    path = write(tmp_path / "VQA_RAD Dataset Public.json", rows)
    assert [(one.id, one.text) for one in read_source("vqa-rad", path)[0]] == [("vqa-rad/1", "2"), ("vqa-rad/2", "Yes")]
    assert [one.id for one in read_source("vqa-rad", path, split="test")[0]] == ["vqa-rad/2"]
    assert [one.id for one in read_source("vqa-rad", path, split="train")[0]] == ["vqa-rad/1"]
    with pytest.raises(UsageError, match="no split 'val'"):
        read_source("vqa-rad", path, split="val")


# --- COCO


def coco(**changes):
    whole = {
        "images": [
            {"id": 7, "file_name": "a.png", "width": 200, "height": 100},
            {"id": 8, "file_name": "b.png", "width": 200, "height": 100},
        ],
        "categories": [{"id": 1, "name": "lesion"}, {"id": 2, "name": "肝脏"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 1, "bbox": [20, 10, 80, 40], "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 1, "bbox": [150, 60, 50, 40]},
            {"id": 3, "image_id": 7, "category_id": 2, "bbox": [0, 0, 200, 100]},
        ],
    }
    return whole | changes


def test_coco_boxes_become_corners_and_one_question_a_category(tmp_path):
    picture(tmp_path / "a.png")
    made, left_out = read_source("coco", write(tmp_path / "instances.json", coco()))
    lesion, liver = made
    assert lesion.question == "locate the lesion"
    assert lesion.setting == "single_object_multi_region"
    assert lesion.regions[0].boxes == (PixelBox(20, 10, 100, 50), PixelBox(150, 60, 200, 100))
    assert lesion.text == "<ref>lesion</ref><box>[[100, 100, 500, 500], [749, 599, 999, 999]]</box>"
    assert (liver.question, liver.language, liver.setting) == ("请定位肝脏", Language.ZH, "single_object_single_region")
    assert [one.reason for one in left_out] == ["an image without boxes"]


def test_a_crowd_is_no_object_and_said(tmp_path):
    picture(tmp_path / "a.png")
    crowd = {"id": 4, "image_id": 7, "category_id": 1, "bbox": [0, 0, 9, 9], "iscrowd": 1}
    made, left_out = read_source("coco", write(tmp_path / "x.json", coco(annotations=[*coco()["annotations"], crowd])))
    assert [one.question for one in made] == ["请定位肝脏"]
    assert "a box around a crowd, which is not one object" in {one.reason for one in left_out}


@pytest.mark.parametrize(
    ("annotation", "sentence"),
    [
        ({"image_id": 9, "category_id": 1, "bbox": [0, 0, 1, 1]}, r"Annotation 1 of 'x.json' names an image or a category"),
        ({"image_id": 7, "category_id": 1, "bbox": [0, 0, 1]}, r"Annotation 1 of 'x.json' needs four numbers as bbox\."),
        ({"image_id": 7, "category_id": 1, "bbox": [0, 0, 0, 5]}, r"Image 1 of 'x.json': box .* needs x1 < x2"),
        ({"image_id": 7, "category_id": 1, "bbox": [300, 0, 9, 9]}, r"Image 1 of 'x.json': box .* lies outside the image"),
    ],
)
def test_a_bad_annotation_is_named(tmp_path, annotation, sentence):
    picture(tmp_path / "a.png")
    with pytest.raises(UsageError, match=sentence):
        read_source("coco", write(tmp_path / "x.json", coco(annotations=[annotation])))


def test_two_images_with_one_id_are_named(tmp_path):
    with pytest.raises(UsageError, match=r"Image 2 of 'x.json' has the id of another one\."):
        read_source("coco", write(tmp_path / "x.json", coco(images=[coco()["images"][0]] * 2)))


def test_a_file_without_cocos_parts_is_named(tmp_path):
    with pytest.raises(UsageError, match="'x.json' is no COCO file"):
        read_source("coco", write(tmp_path / "x.json", {"images": []}))


# --- a folder of images with a CSV

HEADER = "image,question,answer,task,language,box,labels"


def table(folder, *rows, header=HEADER):
    picture(folder / "a.png")
    return write(folder / "q.csv", "\n".join([header, *rows]))


def test_a_table_asks_every_task(tmp_path):
    path = table(
        tmp_path,
        'a.png,"Is it normal, or not?",yes,,,,',
        'a.png,locate the lesion,lesion,detect,,"20,10,100,50;150,60,200,100",',
        'a.png,What is this?,liver,identify,en,"20,10,100,50",',
        "a.png,这是什么病？,a,classify,,,A; b",
        "a.png,Describe it.,All is well.,report,,,",
    )
    made, left_out = read_source("csv", path)
    assert left_out == []
    assert [(one.id, one.setting, one.text) for one in made] == [
        ("q/2", "vqa_en", "yes"),
        ("q/3", "single_object_multi_region", "<ref>lesion</ref><box>[[100, 100, 500, 500], [749, 599, 999, 999]]</box>"),
        ("q/4", "region_to_text", "liver"),
        ("q/5", "classification_single", "A"),
        ("q/6", "report_en", "All is well."),
    ]
    assert made[2].box == PixelBox(20, 10, 100, 50)
    assert (made[3].candidates, made[3].language) == (("A", "b"), Language.ZH)


def test_a_table_with_one_question_of_several_labels_has_them_all_so(tmp_path):
    path = table(tmp_path, "a.png,q,a; b,classify,,,a;b;c", "a.png,q,c,classify,,,a;b;c")
    assert [one.setting for one in read_source("csv", path)[0]] == ["classification_multi"] * 2


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("a.png,q", r"Line 2 of 'q.csv' has not as many cells as the header\."),
        ("a.png,q,a,,,,,extra", r"Line 2 of 'q.csv' has not as many cells as the header\."),
        ("b.png,q,a,,,,", r"Line 2 of 'q.csv' names an image that is not in"),
        ("a.png,q,a,juggle,,,", r"Line 2 of 'q.csv' has 'juggle' as task, which is none of: vqa, "),
        ('a.png,q,a,detect,,"1,2,3",', r"Line 2 of 'q.csv' needs four numbers as box\."),
        ("a.png,q,a,identify,,,", r"Line 2 of 'q.csv' needs four numbers as box\."),
        ('a.png,q,a,identify,,"a,b,c,d",', r"Line 2 of 'q.csv' needs x1,y1,x2,y2 in pixels as box\."),
        ('a.png,q,a,detect,,"50,0,20,9",', r"Line 2 of 'q.csv': box .* needs x1 < x2"),
        ("a.png,q,z,classify,,,a;b", r"Line 2 of 'q.csv' has the label 'z', which is none of its candidates\."),
        ("a.png,q,a,grounded_report,,,", r"Line 2 of 'q.csv' asks for a grounded report"),
    ],
)
def test_a_bad_row_is_named(tmp_path, row, sentence):
    with pytest.raises(UsageError, match=sentence):
        read_source("csv", table(tmp_path, row))


def test_unknown_columns_are_named(tmp_path):
    with pytest.raises(UsageError, match="'q.csv' needs the columns image, question and answer"):
        read_source("csv", table(tmp_path, "a.png,q,a,1", header="image,question,answer,colour"))


# --- MedRegInstruct


def sample(value, answer, image="a.png", **more):
    turns = [{"from": "human", "value": value}, {"from": "gpt", "value": answer}]
    return {"id": 0, "image": image, "conversations": turns} | more


def test_conversations_of_every_kind(tmp_path):
    picture(tmp_path / "a.png")
    size = {"width": 999, "height": 999}
    found = "<ref>left lung</ref><box>[[1, 2, 3, 4], [5, 6, 7, 8]]</box>"
    lung = "<ref>right lung</ref><box>[[1, 2, 3, 4]]</box>"
    listed = 'Your task is disease diagnosis. The possible diagnoses are:\nnormal\nmacular hole\n"normal" means healthy.'
    path = write(
        tmp_path / "mixed.jsonl",
        lines(
            sample("You help. <image>\nWhat is shown?", "heart"),
            sample("Find it. <image>\nPlease locate <ref>left lung</ref> in this scan.", found, **size),
            sample("Name it. <image>\nWhat is <ref>this</ref><box>[[1, 2, 3, 4]]</box> here?", "left lung", **size),
            sample(f"{listed}\n<image>\nWhich is it?", "Macular hole"),
            sample("你的任务是生成诊断报告。<image>\n", "未见异常。"),
            sample("Ground it. <image>\nDescribe the lungs", f"{lung}, {found}: No effusion is seen."),
            sample("The possible diagnoses are normal and abnormal. <image>\nIs it?", "abnormal"),
        ),
    )
    made, left_out = read_source("medreginstruct", path)
    assert left_out == []
    assert [(one.task, one.setting) for one in made] == [
        (Task.VQA, "vqa_en"),
        (Task.DETECT, "single_object_multi_region"),
        (Task.IDENTIFY, "region_to_text"),
        (Task.CLASSIFY, "classification_single"),
        (Task.REPORT, "report_zh"),
        (Task.GROUNDED_REPORT, "multi_object_multi_region"),
        (Task.CLASSIFY, "classification_single"),
    ]
    assert made[0].question == "What is shown?"
    assert made[1].question == "Please locate left lung in this scan."
    assert made[1].regions[0].boxes[1] == PixelBox(5, 6, 7, 8)
    assert (made[2].question, made[2].box) == ("What is this here?", PixelBox(1, 2, 3, 4))
    assert (made[3].candidates, made[3].labels) == (("normal", "macular hole"), ("macular hole",))
    assert made[4].question == "请描述这张图像。"
    # Without width and height the image itself is measured: 200 x 100.
    assert made[5].regions[0].boxes[0].as_list() == pytest.approx([200 / 999, 200 / 999, 600 / 999, 400 / 999])
    assert made[6].candidates == ("normal", "abnormal")


def test_a_second_turn_is_a_question_of_its_own(tmp_path):
    picture(tmp_path / "a.png")
    row = sample("<image>\nWhat organ?", "liver")
    row["conversations"] += [{"from": "human", "value": "Is it healthy?"}, {"from": "gpt", "value": "yes"}]
    made, _ = read_source("medreginstruct", write(tmp_path / "x.jsonl", lines(row)))
    assert [(one.id, one.question, one.text) for one in made] == [
        ("x/1/0", "What organ?", "liver"),
        ("x/1/1", "Is it healthy?", "yes"),
    ]


def test_a_meta_file_lists_data_sets_with_their_prompts(tmp_path):
    picture(tmp_path / "oct" / "a.png")
    (tmp_path / "json").mkdir()
    write(tmp_path / "json" / "oct.jsonl", lines(sample("<image>\nWhich?", "b, a"), sample("<image>\nWhich?", "a")))
    entry = {"root": "oct", "annotation": "json/oct.jsonl", "data_augment": True, "repeat_time": 1, "length": 2}
    meta = {"oct_cls": entry | {"base_prompt": "Your task is disease diagnosis. The possible diagnoses are:\na\nb\n"}}
    made, _ = read_source("medreginstruct", write(tmp_path / "meta_file.json", meta))
    assert [(one.id, one.setting, one.labels) for one in made] == [
        ("oct_cls/oct/1/0", "classification_multi", ("b", "a")),
        ("oct_cls/oct/2/0", "classification_multi", ("a",)),
    ]


def test_regions_that_cannot_be_used_are_left_out_and_said(tmp_path):
    picture(tmp_path / "a.png")
    flat = sample("<image>\nPlease locate <ref>vessel</ref>.", "<ref>vessel</ref><box>[[5, 5, 5, 9]]</box>")
    made, left_out = read_source("medreginstruct", write(tmp_path / "x.jsonl", lines(flat, sample("<image>\nq", ""))))
    assert made == []
    assert [(one.place, one.reason) for one in left_out] == [
        ("Line 1 of 'x.jsonl'", "a box of 'vessel' is inverted or outside the image"),
        ("Line 2 of 'x.jsonl'", "an empty answer"),
    ]


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("{broken", r"'x.jsonl': Line 2 is not valid JSON\."),
        ({"image": "a.png"}, r"Line 2 of 'x.jsonl' needs conversations in which human and gpt take turns\."),
        ({"image": "a.png", "conversations": [{"from": "gpt", "value": "x"}]}, r"human and gpt take turns\."),
        ({"image": "a.png", "conversations": [1, 2]}, r"human and gpt take turns\."),
        (sample("<image>\nq", 3, image="b.png"), r"Line 2 of 'x.jsonl' names an image that is not in"),
        (sample("<image>\nq", None), r"Line 2 of 'x.jsonl', turn 2, needs text as value\."),
        (sample("The possible organs are:\nliver\n<image>\nq", "heart"), r"Line 2 of 'x.jsonl' has the label 'heart'"),
    ],
)
def test_a_bad_sample_is_named(tmp_path, row, sentence):
    picture(tmp_path / "a.png")
    with pytest.raises(UsageError, match=sentence):
        read_source("medreginstruct", write(tmp_path / "x.jsonl", lines(sample("<image>\nq", "a"), row)))


# --- all of them


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name not in ("records", "vqa-rad")])
def test_a_layout_without_splits_says_so(tmp_path, layout):
    with pytest.raises(UsageError, match="leave out --split"):
        read_source(layout, tmp_path / "x", split="test")


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "records"])
def test_a_file_that_is_not_there_is_named_without_its_folder(tmp_path, layout):
    with pytest.raises(UsageError, match=r"'nowhere\.\w+' cannot be read") as caught:
        read_source(layout, tmp_path / ("nowhere.csv" if layout == "csv" else "nowhere.json"))
    assert str(tmp_path) not in str(caught.value)


def test_an_unknown_layout_is_named(tmp_path):
    with pytest.raises(UsageError, match="no layout 'dicom'; choose one of: records, medreginstruct, "):
        read_source("dicom", tmp_path)


def test_an_empty_question_is_left_out_and_said(tmp_path):
    made, left_out = read_source("csv", table(tmp_path, "a.png,,yes,,,,"))
    assert (made, left_out[0].reason) == ([], "an empty question")


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


def answer(question, **changes):
    row = {
        "id": question["id"],
        "text": question["truth"]["text"],
        "raw_text": question["truth"]["text"],
        "regions": [],
        "labels": [],
    }
    return row | changes


def test_questions_are_answered_and_scored(tmp_path):
    path = table(
        tmp_path,
        'a.png,locate the lesion,lesion,detect,,"20,10,100,50",',
        'a.png,locate the liver,liver,detect,,"150,60,200,100",',
        "a.png,Which?,a; b,classify,,,a;b;c",
        "a.png,Which?,c,classify,,,a;b;c",
        "a.png,Is it?,yes,,,,",
    )
    out = tmp_path / "questions.jsonl"
    run = CliRunner().invoke(bench_app, ["questions", "--from", "csv", "--data", str(path), "--out", str(out)])
    assert run.exit_code == 0, run.output
    assert "2  single_object_single_region" in run.stderr
    rows = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert [set(SETTINGS) >= {row["setting"]} for row in rows] == [True] * 5
    assert rows[2]["labels"] == ["a", "b", "c"]
    region = {"label": "lesion", "box": [20, 10, 100, 50], "confidence": 0.8}
    answers = [
        answer(rows[0], regions=[region]),
        {"id": rows[1]["id"], "error": {"kind": "image", "message": "The image is broken.", "exit_code": 3}},
        answer(rows[2], labels=[{"label": "a", "confidence": 0.9}, {"label": "b", "confidence": 0.8}]),
        answer(rows[3]),  # no labels: the text is read
        answer(rows[4]),
    ]
    given = write(tmp_path / "answers.jsonl", lines(*answers))
    scored = {}
    for setting in ("single_object_single_region", "classification_multi", "vqa_en"):
        command = ["score", str(given), "--questions", str(out), "--setting", setting, "--json"]
        run = CliRunner().invoke(bench_app, command)
        assert run.exit_code == 0, run.output
        scored[setting] = json.loads(run.stdout)
        assert "belong to other settings" in run.stderr
    places = scored["single_object_single_region"]
    assert places["figures"]["acc50"] == 0.5
    assert places["standard"]["AP50"] == pytest.approx((1.0 + 0.0) / 2)
    assert "Line 2 is an error, not an answer; it is scored as saying nothing." in places["warnings"]
    assert scored["classification_multi"]["figures"] == {"F1-macro": 1.0, "Accuracy": 1.0}
    assert scored["vqa_en"]["figures"]["closedQuestionsAccuracy"] == 1.0


def test_a_question_without_an_answer_is_named():
    questions = [(1, {"id": "a", "setting": "vqa_en"}), (2, {"id": "b", "setting": "vqa_zh"})]
    with pytest.raises(UsageError, match="The question on line 1 has no answer"):
        answered_items(questions, [(1, {"id": "c"})], "vqa_en")
    with pytest.raises(UsageError, match="None of the 2 questions belongs to the setting 'report_en'"):
        answered_items(questions, [(1, {"id": "a"})], "report_en")
    with pytest.raises(UsageError, match="question on line 1 or the answer on line 5"):
        answered_items(questions, [(5, {"id": "a"})], "vqa_en")
    whole = {"id": "a", "setting": "vqa_en", "image": "x.png", "truth": {"text": "yes"}}
    items, others = answered_items([(1, whole), questions[1]], [(5, {"id": "a", "text": "no", "labels": []})], "vqa_en")
    assert others == 1
    assert score("vqa_en", items)["figures"]["closedQuestionsAccuracy"] == 0
