"""How right a text is: MedRegA's visual question answering and identification, and the usual scores of reports.

Functions named after MedRegA's settings return what upstream's evaluators return, oddities included;
each oddity is named where it happens. BLEU is sacrebleu's, ROUGE rouge-score's, METEOR NLTK's, Chinese words jieba's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from medrega_bench.evaluation.figures import Measured, Pair, ratios
from medrega_edge.domain import Language
from medrega_edge.evaluation.bootstrap import FloatArray
from medrega_edge.evaluation.grading import is_exact

if TYPE_CHECKING:
    from sacrebleu.metrics.bleu import BLEU

CLOSED_TRUTHS = ("yes", "no")
CLOSED_RECALL, CLOSED_RECALL_ZH, OPEN_RECALL = 0.8, 0.4, 0.75
REPORT_ORDER = 4  # of BLEU's longest word sequences
SAME_WORDS = {
    "pa": "posterior anterior",
    "ivc": "inferior vena cava",
    "head": "brain",
    "both": "bilateral",
    "tumour": "tumor",
    "tumours": "tumors",
}
_CLAUSE_END = re.compile(r"[,:.]")
_BOXES = re.compile(r"\[\[.*?\]\]")


def vqa_en(pairs: Sequence[Pair]) -> Measured:
    """MedRegA's English visual question answering: a question is closed when its truth is yes or no."""
    rows = []
    for pair in pairs:
        answer, truth = _normalised(pair.answer), _normalised(pair.truth)
        words, true_words = set(answer.split()), set(truth.split())
        recall = word_recall(words, true_words)
        rows.append(
            _word_figures(answer, truth, words, true_words)
            | _by_kind(truth in CLOSED_TRUTHS, recall >= CLOSED_RECALL, recall)
        )
    return ratios(rows, empty=0.0)


def vqa_zh(pairs: Sequence[Pair]) -> Measured:
    """MedRegA's Chinese visual question answering: `openQuestionsAccuracy` is the share of answers of recall >= 0.75.

    Upstream calls a question closed when the *answer* is the English yes or no, and then lets 0.4 of the truth do.
    """
    rows = []
    for pair in pairs:
        words, true_words = set(chinese_words(pair.answer)), set(chinese_words(pair.truth))
        recall = word_recall(words, true_words)
        closed_words = {"no", "not"} if true_words == {"no"} else true_words
        closed_right = word_recall(words, closed_words) >= CLOSED_RECALL_ZH
        answer, truth = (" ".join(chinese_words(text)) for text in (pair.answer, pair.truth))
        rows.append(
            _word_figures(answer, truth, words, true_words) | _by_kind(pair.answer in CLOSED_TRUTHS, closed_right, recall)
        )
    return ratios(rows, empty=0.0)


def region_to_text(pairs: Sequence[Pair]) -> Measured:
    """MedRegA's identification of what is in a box: right from a recall of 0.75, however much else is said."""
    rows = []
    for pair in pairs:
        answer, truth = _BOXES.sub("", pair.answer.lower()), pair.truth.lower()
        words, true_words = set(answer.split()), set(truth.split())
        right = word_recall(words, true_words) >= OPEN_RECALL
        rows.append(_word_figures(answer, truth, words, true_words) | {"accuracy": (float(right), 1.0)})
    return ratios(rows, empty=0.0)


def exact_match(pairs: Sequence[Pair]) -> Measured:
    """Share of answers that are the truth to the letter, see `grading.is_exact`."""
    return ratios([{"exact_match": (float(is_exact(pair.answer, pair.truth)), 1.0)} for pair in pairs])


def _normalised(text: str) -> str:
    """Lower-case, clauses joined by commas (a final stop becomes one), clauses with "_" left out, words unified."""
    clauses = [clause.lower() for clause in _CLAUSE_END.split(text) if "_" not in clause]
    unified = (" ".join(SAME_WORDS.get(word, word) for word in clause.split(" ")) for clause in clauses)
    return ",".join(unified).replace("-", " ")


def word_recall(words: set[str], true_words: set[str]) -> float:
    """Share of the true words that are among `words`; 0 when there is no true word."""
    return len(words & true_words) / len(true_words) if true_words else 0.0


def _word_figures(answer: str, truth: str, words: set[str], true_words: set[str]) -> dict[str, tuple[float, float]]:
    """BLEU-1 of the word sequences, F1 and recall of the word sets."""
    recall = word_recall(words, true_words)
    precision = word_recall(true_words, words)
    f1 = 2 * precision * recall / (precision + recall) if recall else 0.0
    return {"bleu1": (bleu1(answer, truth), 1.0), "F1": (f1, 1.0), "recall": (recall, 1.0)}


def _by_kind(closed: bool, closed_right: bool, recall: float) -> dict[str, tuple[float, float]]:
    nothing = (0.0, 0.0)
    return {
        "closedQuestionsAccuracy": (float(closed_right), 1.0) if closed else nothing,
        "openQuestionsRecall": nothing if closed else (recall, 1.0),
        "openQuestionsAccuracy": nothing if closed else (float(recall >= OPEN_RECALL), 1.0),
    }


def bleu1(answer: str, truth: str) -> float:
    """BLEU-1 of one answer, 0..1, words parted by spaces."""
    return float(_bleu(1).sentence_score(answer, [truth]).score) / 100


@cache
def _bleu(order: int) -> BLEU:
    from sacrebleu.metrics.bleu import BLEU

    # Effective order silences advice about single sentences. It changes no score of order 1, and no count.
    return BLEU(tokenize="none", max_ngram_order=order, smooth_method="none", effective_order=True)


@cache
def _cutter() -> Any:
    import jieba

    cutter = jieba.Tokenizer()
    # Its own initialize() keeps a cache under a fixed name in the folder for temporary files, where anybody may put one.
    cutter.FREQ, cutter.total = cutter.gen_pfdict(cutter.get_dict_file())
    cutter.initialized = True
    return cutter


def chinese_words(text: str) -> list[str]:
    """Cut Chinese text into words."""
    return list(_cutter().cut(text))


def report(pairs: Sequence[Pair], language: Language) -> Measured:
    """Scores of reports: BLEU-1 and BLEU-4 of all texts together, ROUGE-L (F1) and METEOR as means over texts.

    Chinese is cut into words first. METEOR matches words and stems, not synonyms: those need WordNet's files.
    """
    return _report(pairs, chinese_words if language is Language.ZH else _english_words)


def _report(pairs: Sequence[Pair], cut: Callable[[str], list[str]]) -> Measured:
    from nltk.stem import PorterStemmer
    from nltk.translate.meteor_score import single_meteor_score
    from rouge_score.rouge_scorer import RougeScorer

    rouge = RougeScorer(["rougeL"], tokenizer=SimpleNamespace(tokenize=str.split))
    no_synonyms = SimpleNamespace(synsets=lambda _word: ())
    counts = np.zeros((len(pairs), 2 * REPORT_ORDER + 5))
    for row, pair in zip(counts, pairs, strict=True):
        words, true_words = cut(pair.answer), cut(pair.truth)
        answer, truth = " ".join(words), " ".join(true_words)
        bleu = _bleu(REPORT_ORDER).sentence_score(answer, [truth])
        rouge_l = rouge.score(truth, answer)["rougeL"].fmeasure
        meteor = single_meteor_score(true_words, words, stemmer=PorterStemmer(), wordnet=no_synonyms)
        row[:] = *bleu.counts, *bleu.totals, bleu.sys_len, bleu.ref_len, rouge_l, meteor, 1

    def figures(sums: FloatArray) -> dict[str, float | None]:
        rouge_l, meteor, items = sums[-3:].tolist()
        hits, total, (length, true_length) = np.split(sums[:-3].astype(int), [REPORT_ORDER, 2 * REPORT_ORDER])
        bleu = {
            f"bleu{n}": _bleu(n).compute_bleu(list(hits[:n]), list(total[:n]), length, true_length, max_ngram_order=n)
            for n in (1, REPORT_ORDER)
        }
        means = {"rougeL": rouge_l / items, "meteor_without_synonyms": meteor / items}
        return {name: float(score.score) / 100 for name, score in bleu.items()} | means

    return Measured(counts, figures)


@cache
def _english_cutter() -> Callable[[str], str]:
    from sacrebleu.metrics.bleu import BLEU

    cutter: Callable[[str], str] = BLEU(tokenize="13a").tokenizer  # parts words and punctuation by spaces
    return cutter


def _english_words(text: str) -> list[str]:
    return _english_cutter()(text.lower()).split()
