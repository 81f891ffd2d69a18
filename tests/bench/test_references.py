"""Reference reports are those that training builds from the same annotations."""

import json
from pathlib import Path

import numpy as np
import pytest

from medrega_bench.datasets.references import reference
from medrega_edge.domain import Language, Modality
from medrega_edge.tasks.report_sentences import Sentence, read, write

DATA = Path(__file__).parents[3] / "shared" / "data"


def test_a_report_is_read_back_by_its_sentences():
    told = ((Sentence.SEEN, ["liver", "left lung"]), (Sentence.ABNORMAL, ["glioma"]))
    text = write(Modality.CT, "chest", told, Language.EN)
    assert text == "CT scan of the chest. Seen: liver, left lung. Abnormal: glioma."
    assert read(text, Language.EN) == {Sentence.SEEN: "Seen: liver, left lung.", Sentence.ABNORMAL: "Abnormal: glioma."}
    text = write(Modality.CT, None, [(Sentence.SEEN, []), (Sentence.ABNORMAL, ["胶质瘤"])], Language.ZH)
    assert text == "CT图像。异常：胶质瘤。"
    assert read(text, Language.ZH) == {Sentence.ABNORMAL: "异常：胶质瘤。"}


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason="the shared images are not here")
def test_training_tells_the_same():
    from medrega_train.augment import clean_view
    from medrega_train.records import load_records
    from medrega_train.reports import report

    rows = [json.loads(line) for line in (DATA / "records.jsonl").read_text("utf-8").splitlines()]
    pixels = np.zeros((8, 8, 3), np.uint8)
    for row, record in list(zip(rows, load_records(DATA), strict=True))[::17]:
        view = clean_view(record, pixels, 8)
        for language in Language:
            assert reference(row, language).text == report(record, view, language), row["id"]
