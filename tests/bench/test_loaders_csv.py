"""A folder of images with a table of questions."""

import pytest

from medrega_bench.datasets.loaders import read_source
from medrega_edge.boxes import PixelBox
from medrega_edge.domain import Language, Task
from medrega_edge.errors import UsageError

from .layouts import said, table


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
    assert [(one.id, one.setting, one.truth.text) for one in made] == [
        ("q/2", "vqa_en", "yes"),
        ("q/3", "single_object_multi_region", "<ref>lesion</ref><box>[[100, 100, 500, 500], [749, 599, 999, 999]]</box>"),
        ("q/4", "region_to_text", "liver"),
        ("q/5", "classification_single", "A"),
        ("q/6", "report_en", "All is well."),
    ]
    assert made[2].box == PixelBox(20, 10, 100, 50)
    assert (made[3].labels, made[3].language) == (("A", "b"), Language.ZH)


def test_a_table_with_one_question_of_several_labels_has_them_all_so(tmp_path):
    path = table(tmp_path, "a.png,q,a; b,classify,,,a;b;c", "a.png,q,c,classify,,,a;b;c")
    assert [one.setting for one in read_source("csv", path)[0]] == ["classification_multi"] * 2


@pytest.mark.parametrize(
    ("row", "code", "params"),
    [
        ("a.png,q", "bench.cells", {}),
        ("a.png,q,a,,,,,extra", "bench.cells", {}),
        ("b.png,q,a,,,,", "bench.image_missing", {}),
        ("a.png,q,a,juggle,,,", "bench.unknown_word", {"word": "juggle", "key": "task", "known": tuple(Task)}),
        ('a.png,q,a,detect,,"1,2,3",', "bench.four_numbers", {"key": "box"}),
        ("a.png,q,a,identify,,,", "bench.four_numbers", {"key": "box"}),
        ('a.png,q,a,identify,,"a,b,c,d",', "bench.pixel_box", {}),
        ('a.png,q,a,detect,,"50,0,20,9",', "bench.box_corners", {"box": (50, 0, 20, 9)}),
        ("a.png,q,z,classify,,,a;b", "bench.unknown_label", {"label": "z"}),
        ("a.png,q,a,grounded_report,,,", "bench.grounded_report_in_table", {}),
    ],
)
def test_a_bad_row_is_named(tmp_path, row, code, params):
    with pytest.raises(UsageError) as caught:
        read_source("csv", table(tmp_path, row))
    if code == "bench.image_missing":
        params = {"folder": tmp_path.name}
    assert said(caught) == (code, "Line 2 of 'q.csv'", params)


def test_unknown_columns_are_named(tmp_path):
    with pytest.raises(UsageError) as caught:
        read_source("csv", table(tmp_path, "a.png,q,a,1", header="image,question,answer,colour"))
    assert said(caught) == ("bench.columns", "", {"file": "q.csv", "more": ("task", "language", "box", "labels")})


def test_an_empty_question_is_left_out_and_said(tmp_path):
    made, left_out = read_source("csv", table(tmp_path, "a.png,,yes,,,,"))
    assert (made, left_out[0].reason.code) == ([], "bench.empty_question")
