"""Every case here is worked by hand; the comments show how."""

import math
import sys

import pytest

from medrega_bench.evaluation.figures import Pair
from medrega_bench.metrics.text import bleu1, chinese_words, exact_match, region_to_text, report, vqa_en, vqa_zh
from medrega_edge.domain import Language


def test_bleu1_by_hand():
    assert bleu1("left lung", "left lung") == pytest.approx(1.0)
    assert bleu1("left left left", "left lung") == pytest.approx(1 / 3)  # a word counts as often as it is in the truth
    assert bleu1("lung", "left lower lung") == pytest.approx(math.exp(1 - 3 / 1))  # shorter than the truth
    assert bleu1("", "lung") == bleu1("heart", "lung") == 0


def test_english_questions():
    # yes/yes: closed, right. no/"no and lung": closed; recall 1, precision 1/3, F1 1/2, BLEU-1 1/3, right.
    # "lower right lung"/"right lung": open; recall 2/3, precision 1, F1 4/5, BLEU-1 exp(1 - 3/2); 2/3 is below 0.75.
    made = vqa_en([Pair("Yes", "yes"), Pair("no and lung", "No"), Pair("right lung", "lower right lung")]).values()
    assert made == pytest.approx(
        {
            "bleu1": (1 + 1 / 3 + math.exp(-0.5)) / 3,
            "F1": (1 + 1 / 2 + 4 / 5) / 3,
            "recall": (1 + 1 + 2 / 3) / 3,
            "closedQuestionsAccuracy": 1.0,
            "openQuestionsRecall": 2 / 3,
            "openQuestionsAccuracy": 0.0,
        }
    )


def test_english_words_are_unified_and_a_final_stop_makes_another_word():
    assert vqa_en([Pair("Head", "brain"), Pair("left-sided tumour", "left sided tumor")]).values()["recall"] == 1
    assert vqa_en([Pair("yes.", "yes")]).values()["closedQuestionsAccuracy"] == 0  # "yes," is not "yes"
    assert vqa_en([Pair("lung: ___ seen, left", "lung, left")]).values()["recall"] == 1  # a clause with "_" is dropped
    assert vqa_en([Pair("yes", "Yes.")]).values()["openQuestionsAccuracy"] == 0  # "yes," is not closed either


def test_chinese_questions_are_right_from_three_quarters_of_the_words():
    assert chinese_words("右侧颞叶") != ["右侧颞叶"]
    whole = vqa_zh([Pair("肝脏", "肝脏"), Pair("肝脏", "肝脏和肺")]).values()  # the truth is cut into 肝脏, 和, 肺
    assert whole["recall"] == pytest.approx((1 + 1 / 3) / 2)
    assert whole["openQuestionsAccuracy"] == 0.5
    assert whole["closedQuestionsAccuracy"] == 0
    assert whole["F1"] == pytest.approx((1 + 2 * (1 / 3) / (4 / 3)) / 2)


def test_chinese_questions_answered_by_an_english_yes_or_no_are_closed():
    # The truth "no" becomes {no, not}: "no" has half of it, and 0.4 is enough.
    made = vqa_zh([Pair("no", "no"), Pair("yes", "是的")])
    assert made.values()["closedQuestionsAccuracy"] == 0.5
    assert made.values()["openQuestionsRecall"] == 0
    assert made.intervals(["a", "b"])["openQuestionsRecall"] is None  # there is none, and so no interval


@pytest.mark.slow
def test_jieba_leaves_no_file_behind(tmp_path, monkeypatch):
    import tempfile

    from medrega_bench.metrics import text as metrics_text

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    metrics_text._cutter.cache_clear()
    assert chinese_words("肝脏") == ["肝脏"]
    assert list(tmp_path.iterdir()) == []


def test_identification_counts_from_three_quarters_and_boxes_do_not_count_as_words():
    # four words, three of them said: recall 0.75, precision 1, BLEU-1 exp(1 - 4/3), F1 6/7.
    made = region_to_text([Pair("Right Lower Lobe[[1, 2, 3, 4]]", "right lower lobe bronchus")]).values()
    assert made == pytest.approx({"bleu1": math.exp(1 - 4 / 3), "F1": 6 / 7, "recall": 0.75, "accuracy": 1.0})
    assert region_to_text([Pair("left mandible", "left temporal lobe")]).values()["accuracy"] == 0


def test_exact_match_forgives_case_spaces_and_a_final_stop_only():
    pairs = [Pair(" Liver.", "liver"), Pair("肝脏。", "肝脏"), Pair("the liver", "liver")]
    assert exact_match(pairs).values()["exact_match"] == pytest.approx(2 / 3)


def test_report_scores_by_hand():
    # Words: "the liver is normal ." against "the liver is large .". Same length, so no brevity penalty.
    # BLEU-1 4/5. Pairs of words 2 of 4, threes 1 of 3, fours 0 of 2: BLEU-4 is 0. Longest common subsequence 4: ROUGE-L 4/5.
    # METEOR (alpha 0.9, beta 3, gamma 0.5): 4 of 5 words in 2 chunks: 0.8 * (1 - 0.5 * (2/4)^3).
    made = report([Pair("The liver is normal.", "The liver is large.")], Language.EN).values()
    assert made["bleu1"] == pytest.approx(4 / 5)
    assert made["bleu4"] == 0
    assert made["rougeL"] == pytest.approx(4 / 5)
    assert made["meteor_without_synonyms"] == pytest.approx(0.8 * (1 - 0.5 * (2 / 4) ** 3))


def test_bleu_of_reports_is_that_of_all_texts_together_not_the_mean():
    # Two texts: 5 of 5 words right, and 0 of 1. Together 5/6, while the mean of the two would be 1/2.
    pairs = [Pair("no effusion is seen here", "no effusion is seen here"), Pair("normal", "large")]
    made = report(pairs, Language.EN)
    assert made.values()["bleu1"] == pytest.approx(5 / 6)
    # Pairs of words 4 of 4, threes 3 of 3, fours 2 of 2: the fourth root of 5/6.
    assert made.values()["bleu4"] == pytest.approx((5 / 6) ** 0.25)
    low, high = made.intervals(["a", "b"])["bleu1"]
    assert (low, high) == pytest.approx((0, 1))


def test_chinese_reports_are_scored_by_words():
    made = report([Pair("右肺有病灶", "右肺有病灶"), Pair("肝脏正常", "肝脏正常")], Language.ZH).values()
    assert made["bleu1"] == pytest.approx(1.0)
    assert made["rougeL"] == pytest.approx(1.0)
    assert report([Pair("肝脏", "肺")], Language.ZH).values()["rougeL"] == 0


def test_importing_the_metrics_loads_no_library_for_them():
    import subprocess

    code = (
        "import sys, medrega_bench.cli.main, medrega_bench.evaluation.score\n"
        "heavy = {'scipy', 'sacrebleu', 'jieba', 'nltk', 'rouge_score', 'pycocotools'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
