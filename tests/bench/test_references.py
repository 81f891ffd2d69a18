"""Reference reports are those that training builds from the same annotations."""

from pathlib import Path

import numpy as np
import pytest

from medrega_bench.datasets.references import reference
from medrega_edge.domain import Language, Modality
from medrega_edge.evaluation.records import read_records
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


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason="the shared images are not here")
def test_training_tells_the_same():
    from medrega_train.augment import clean_view
    from medrega_train.reports import report

    pixels = np.zeros((8, 8, 3), np.uint8)
    for record in list(read_records(DATA))[::17]:
        view = clean_view(record, pixels, 8)
        for language in Language:
            assert reference(record, language).text == report(record, view, language), record.id
