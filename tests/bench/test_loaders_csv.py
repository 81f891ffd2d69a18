"""A folder of images with a table of questions."""

import pytest

from medrega_bench.datasets.loaders import read_source
from medrega_edge.boxes import PixelBox
from medrega_edge.domain import Language
from medrega_edge.errors import UsageError

from .layouts import table


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
    ("row", "sentence"),
    [
        ("a.png,q", r"Line 2 of 'q.csv' has not as many cells as the header\."),
        ("a.png,q,a,,,,,extra", r"Line 2 of 'q.csv' has not as many cells as the header\."),
        ("b.png,q,a,,,,", r"Line 2 of 'q.csv' names an image that is not in"),
        ("a.png,q,a,juggle,,,", r"Line 2 of 'q.csv' has 'juggle' as 'task', which is none of: vqa, "),
        ('a.png,q,a,detect,,"1,2,3",', r"Line 2 of 'q.csv' needs four numbers as 'box'\."),
        ("a.png,q,a,identify,,,", r"Line 2 of 'q.csv' needs four numbers as 'box'\."),
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


def test_an_empty_question_is_left_out_and_said(tmp_path):
    made, left_out = read_source("csv", table(tmp_path, "a.png,,yes,,,,"))
    assert (made, left_out[0].reason) == ([], "an empty question")
