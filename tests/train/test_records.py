"""Records of training: those that cannot be read are refused with their line."""

import pytest

from medrega_edge.errors import UsageError
from medrega_train.records import load_records


def test_a_folder_without_records_is_refused(tmp_path):
    with pytest.raises(UsageError) as refused:
        load_records(tmp_path)
    assert refused.value.code == "train.no_records"
    assert refused.value.message.params == {"folder": str(tmp_path)}


@pytest.mark.parametrize("line", ["no JSON", "[]", '{"image": 3}'])
def test_a_line_that_cannot_be_read_is_named(line, tmp_path):
    (tmp_path / "records.jsonl").write_text(f"{line}\n", "utf-8")
    with pytest.raises(UsageError) as refused:
        load_records(tmp_path)
    assert refused.value.code == "train.record_unreadable"
    assert refused.value.message.params["line"] == 1
