"""MedRegInstruct's conversations: what is asked and answered in each turn."""

import pytest

from medrega_bench.datasets.loaders import read_source
from medrega_edge.boxes import PixelBox
from medrega_edge.domain import Task
from medrega_edge.errors import UsageError

from .layouts import lines, picture, said, sample, write

LINE_2 = "Line 2 of 'x.jsonl'"


def test_conversations_of_every_kind(tmp_path):
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png", 999, 999)
    size = {"width": 999, "height": 999, "image": "b.png"}
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
    assert made[1].truth.regions[0].boxes[1] == PixelBox(5, 6, 7, 8)
    assert (made[2].question, made[2].box) == ("What is this here?", PixelBox(1, 2, 3, 4))
    assert (made[3].labels, made[3].truth.labels) == (("normal", "macular hole"), ("macular hole",))
    assert made[4].question == "请描述这张图像。"
    # Without width and height the image itself is measured: 200 x 100.
    assert made[5].truth.regions[0].boxes[0].as_list() == pytest.approx([200 / 999, 200 / 999, 600 / 999, 400 / 999])
    assert made[6].labels == ("normal", "abnormal")


def test_a_second_turn_is_a_question_of_its_own(tmp_path):
    picture(tmp_path / "a.png")
    row = sample("<image>\nWhat organ?", "liver")
    row["conversations"] += [{"from": "human", "value": "Is it healthy?"}, {"from": "gpt", "value": "yes"}]
    made, _ = read_source("medreginstruct", write(tmp_path / "x.jsonl", lines(row)))
    assert [(one.id, one.question, one.truth.text) for one in made] == [
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
    assert [(one.id, one.setting, one.truth.labels) for one in made] == [
        ("oct_cls/oct/1/0", "classification_multi", ("b", "a")),
        ("oct_cls/oct/2/0", "classification_multi", ("a",)),
    ]


def test_regions_that_cannot_be_used_are_left_out_and_said(tmp_path):
    picture(tmp_path / "a.png")
    flat = sample("<image>\nPlease locate <ref>vessel</ref>.", "<ref>vessel</ref><box>[[5, 5, 5, 9]]</box>")
    made, left_out = read_source("medreginstruct", write(tmp_path / "x.jsonl", lines(flat, sample("<image>\nq", ""))))
    assert made == []
    assert [(str(one.place), one.reason.code) for one in left_out] == [
        ("Line 1 of 'x.jsonl'", "prompt.impossible_box"),
        ("Line 2 of 'x.jsonl'", "bench.empty_answer"),
    ]


@pytest.mark.parametrize(
    ("row", "code", "place"),
    [
        ({"image": "a.png"}, "bench.no_turns", LINE_2),
        ({"image": "a.png", "conversations": [{"from": "gpt", "value": "x"}]}, "bench.no_turns", LINE_2),
        ({"image": "a.png", "conversations": [1, 2]}, "bench.no_turns", LINE_2),
        (sample("<image>\nq", 3, image="b.png"), "bench.image_missing", LINE_2),
        (sample("<image>\nq", None), "bench.needs_text", f"{LINE_2}, turn 2,"),
        (sample("The possible organs are:\nliver\n<image>\nq", "heart"), "bench.unknown_label", LINE_2),
    ],
)
def test_a_bad_sample_is_named(tmp_path, row, code, place):
    picture(tmp_path / "a.png")
    with pytest.raises(UsageError) as caught:
        read_source("medreginstruct", write(tmp_path / "x.jsonl", lines(sample("<image>\nq", "a"), row)))
    assert said(caught)[:2] == (code, place)


def test_a_line_that_is_not_json_is_named_with_its_file(tmp_path):
    picture(tmp_path / "a.png")
    with pytest.raises(UsageError) as caught:
        read_source("medreginstruct", write(tmp_path / "x.jsonl", lines(sample("<image>\nq", "a"), "{broken")))
    code, _, params = said(caught)
    assert (code, params["file"]) == ("bench.in_file", "x.jsonl")
    assert (params["problem"].code, params["problem"].params["line"]) == ("io.line_not_json", 2)


@pytest.mark.parametrize(
    ("meta", "code", "place"),
    [
        ([], "bench.not_a_meta_file", ""),
        ({"oct": 1}, "bench.not_an_object", "The entry 'oct' of 'meta.json'"),
        ({"oct": {}}, "bench.needs_text", "The entry 'oct' of 'meta.json'"),
    ],
)
def test_a_bad_meta_file_is_named(tmp_path, meta, code, place):
    with pytest.raises(UsageError) as caught:
        read_source("medreginstruct", write(tmp_path / "meta.json", meta))
    assert said(caught)[:2] == (code, place)
