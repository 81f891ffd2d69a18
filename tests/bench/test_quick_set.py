from collections import Counter

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter

from medrega_bench.datasets import evaluation_set, quick_set
from medrega_edge.evaluation.records import Record
from medrega_edge.package.registry import find_package
from medrega_edge.prompts.templates import PromptBook


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quick")
    return folder, quick_set.records(folder)


@pytest.mark.slow
def test_the_same_pixels_every_time(drawn, tmp_path):
    folder, records = drawn
    again = quick_set.records(tmp_path)
    assert [one.regions for one in again] == [one.regions for one in records]
    for path in sorted(tmp_path.iterdir()):
        assert np.array_equal(np.asarray(Image.open(path)), np.asarray(Image.open(folder / path.name)))


@pytest.mark.slow
def test_boxes_are_those_of_what_was_drawn(drawn):
    folder, records = drawn
    one = next(record for record in records if record.id == "phantom/skin-0")
    x1, y1, x2, y2 = map(int, one.regions[0].boxes[0].as_list())
    dark = np.asarray(Image.open(one.image)).mean(axis=2) < 120
    rows, columns = np.nonzero(dark)
    assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (x1, y1, x2, y2)


@pytest.mark.slow
def test_every_record_reads_like_one_of_a_data_folder(drawn):
    _, records = drawn
    for record in records:
        assert TypeAdapter(Record).validate_json(TypeAdapter(Record).dump_json(record)) == record
        for region in record.regions:
            for box in region.boxes:
                assert 0 <= box.x1 < box.x2 <= record.width
                assert 0 <= box.y1 < box.y2 <= record.height
    assert len({record.id for record in records}) == len(records)


@pytest.mark.slow
def test_questions_of_every_kind_in_both_languages(drawn):
    folder, records = drawn
    asked = list(evaluation_set.items_of(records))
    settings = Counter(one.question.setting for one in asked)
    assert {"single_object_single_region", "single_object_multi_region", "multi_object_single_region", "region_to_text",
            "vqa_en", "vqa_zh", "absent"} <= set(settings)  # fmt: skip
    assert {one.question.language.value for one in asked} == {"en", "zh"}


def test_names_are_those_that_the_default_package_knows(drawn):
    _, records = drawn
    known = set(PromptBook.from_json(find_package().text("prompts")).labels)
    if known:
        assert {(region.label_en, region.label_zh) for record in records for region in record.regions} <= known
