"""BERTScore: greedy matching worked by hand, and a tiny random model read from a folder."""

import json
import sys

import numpy as np
import pytest

from medrega_bench.evaluation.figures import Pair
from medrega_bench.evaluation.score import Item, score
from medrega_bench.metrics.bertscore import Embedder, bert_score, greedy
from medrega_edge.errors import ResourceError, UsageError
from medrega_edge.i18n.message import Message

EAST, NORTH = [1.0, 0.0], [0.0, 1.0]
BETWEEN = [0.6, 0.8]


def vectors(*rows):
    return np.array(rows, np.float32).reshape(-1, 2)


@pytest.mark.parametrize(
    ("answer", "truth", "worked"),
    [
        ([EAST, NORTH], [NORTH, EAST], (1.0, 1.0, 1.0)),  # order does not count
        ([EAST], [EAST, NORTH], (1.0, 0.5, 2 / 3)),  # north is found by nothing
        ([BETWEEN], [EAST, NORTH], (0.8, 0.7, 2 * 0.8 * 0.7 / 1.5)),
        ([], [EAST], (0.0, 0.0, 0.0)),
    ],
)
def test_greedy_matching_worked_by_hand(answer, truth, worked):
    assert greedy(vectors(*answer), vectors(*truth)) == pytest.approx(worked)


def test_figures_are_means_over_texts():
    said = {"a": vectors(EAST), "b": vectors(EAST, NORTH), "": vectors()}
    made = bert_score([Pair("a", "b"), Pair("a", "a"), Pair("", "a")], said.get).values()
    assert made["bertscore_recall"] == pytest.approx((0.5 + 1 + 0) / 3)
    assert made["bertscore_precision"] == pytest.approx(2 / 3)


@pytest.mark.train
def test_a_folder_without_a_model_is_one_sentence(tmp_path):
    with pytest.raises(UsageError) as caught:
        Embedder(tmp_path)
    assert caught.value.code == "bench.no_language_model"


def test_without_torch_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ResourceError) as caught:
        Embedder(tmp_path)
    assert caught.value.code == "bench.no_torch"


def test_only_reports_are_scored():
    with pytest.raises(UsageError) as error:
        score("vqa_en", [Item(1, {"pred_answer": "a", "gt_answer": "a"})], bert_model="anywhere")
    assert error.value.code == "bench.bertscore_for_reports"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "liver", "lung", "is", "normal", "肺"]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=12,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(folder)
    return folder


@pytest.mark.train
def test_a_model_on_disk_is_used(model):
    embed = Embedder(model)
    assert embed("liver is normal").shape == (3, 16)
    assert np.linalg.norm(embed("肺"), axis=1) == pytest.approx(1)
    same, other = (greedy(embed("liver is normal"), embed(text)) for text in ("liver is normal", "lung is normal"))
    assert same == pytest.approx((1, 1, 1))
    assert other[2] < 0.999
    # By hand: the best cosine of each token, averaged over the answer's and over the truth's.
    cosines = embed("liver is") @ embed("lung normal 肺").T
    precision, recall, _ = greedy(embed("liver is"), embed("lung normal 肺"))
    assert precision == pytest.approx((max(cosines[0]) + max(cosines[1])) / 2)
    assert recall == pytest.approx(sum(max(cosines[:, i]) for i in range(3)) / 3)


@pytest.mark.train
def test_scores_of_reports_hold_it_and_long_texts_are_said(model):
    items = [Item(1, {"pred_answer": "liver is normal", "gt_answer": "liver is normal", "image": "a"})]
    assert score("report_en", items, bert_model=model).standard["bertscore_f1"] == pytest.approx(1)
    items = [Item(1, {"pred_answer": "liver " * 40, "gt_answer": "liver", "image": "a"})]
    warnings = score("report_en", items, bert_model=model).warnings
    assert Message("bench.texts_cut", count=1) in warnings


@pytest.mark.train
def test_a_broken_model_is_one_sentence(model, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "nothing known"}))
    with pytest.raises(UsageError) as caught:
        Embedder(tmp_path)
    assert caught.value.code == "bench.language_model_broken"
