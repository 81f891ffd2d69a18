"""Records: what cannot be read is refused with its line."""

import json

import pytest

from medrega_edge.boxes import PixelBox
from medrega_edge.domain import Language, Modality
from medrega_edge.errors import UsageError
from medrega_edge.evaluation.records import read_records

RECORD = {
    "id": "r1", "dataset": "set", "image": "images/肝.png", "split": "test", "modality": "ct", "width": 200, "height": 100,
    "regions": [{"label_en": "liver", "label_zh": "肝脏", "kind": "organ", "boxes": [[20, 10, 100, 50.5]]}],
}  # fmt: skip


def read(folder, *lines, split=None):
    texts = [line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines]
    (folder / "records.jsonl").write_text("\n".join(texts), "utf-8")
    return list(read_records(folder, split))


def refused(folder, *lines):
    with pytest.raises(UsageError) as error:
        read(folder, *lines, split="test")
    assert error.value.code == "evaluation.line_unusable"
    return error.value.message.params


def test_a_record_is_read_with_its_optional_keys(tmp_path):
    more = {"batch": 2, "terms": "open", "plane": "axial", "licence": "read no further",
            "report": {"lang": "en", "text": "A mass.", "kind": "clinical_note"}}  # fmt: skip
    plain, whole = read(tmp_path, RECORD, "", RECORD | more)
    assert (plain.image, plain.modality, plain.batch, plain.report) == (tmp_path / "images/肝.png", Modality.CT, None, None)
    assert plain.regions[0].boxes == (PixelBox(20, 10, 100, 50.5),)
    assert plain.regions[0].name(Language.ZH) == "肝脏"
    assert (whole.batch, whole.terms, whole.plane, whole.report.text) == (2, "open", "axial", "A mass.")


def test_what_fills_the_image_is_no_target(tmp_path):
    vessels = {"label_en": "retinal blood vessels", "label_zh": "血管", "boxes": [[0, 0, 200, 100]]}
    (record,) = read(tmp_path, RECORD | {"regions": [*RECORD["regions"], vessels]})
    assert [region.label_en for region in record.targets] == ["liver"]


def test_one_split_is_read_without_looking_into_the_others(tmp_path):
    assert [one.id for one in read(tmp_path, {"split": "train"}, RECORD, split="test")] == ["r1"]


def test_a_folder_without_records_is_refused(tmp_path):
    with pytest.raises(UsageError) as error:
        list(read_records(tmp_path))
    assert error.value.code == "evaluation.no_records"
    assert error.value.message.params == {"folder": tmp_path.name}


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("no JSON", "JSON"),
        ("[]", "object"),
        ('{"id": "a", "id": "b"}', "id: this key stands twice"),
        ('{"image": 3}', "id"),
        ({"split": "test", "dup_of_eval": False}, "id: Field required"),
        (RECORD | {"width": "200"}, "width"),
        (RECORD | {"modality": "smell"}, "modality"),
        (RECORD | {"qa": [{"lang": "fr", "question": "?", "answer": ""}]}, "qa.0.lang"),
        (RECORD | {"regions": [{"label_en": "a", "label_zh": "b", "boxes": [[300, 0, 400, 9]]}]}, "outside the image"),
        (RECORD | {"regions": [{"label_en": "a", "label_zh": "b", "boxes": [[9, 0, 4, 9]]}]}, "x1 < x2"),
        (RECORD | {"regions": [{"label_en": "a", "label_zh": "b", "boxes": [[9, 0, 4]]}]}, "four numbers"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(line, problem, tmp_path):
    params = refused(tmp_path, RECORD, line)
    assert (params["line"], params["file"]) == (2, "records.jsonl")
    assert problem in params["problem"]
