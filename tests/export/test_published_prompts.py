"""Prompts of a checkpoint trained elsewhere: read from published samples, task by task, into what its weights saw."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medrega_edge.domain import Language, Task
from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.prompts.templates import DEFAULT_PROMPTS, LABELS_SLOT, QUESTION_SLOT, PromptBook
from medrega_export.checkpoint import published_prompts as f
from tests.codes import raises_code

# Words of our own in the form of upstream's: role, task, definition of a box or candidates, image, question.
ROLE, ROLE_ZH = "You help doctors.", "你帮助医生。"
BOX = "A box is [x1, y1, x2, y2]."
SAMPLES = [
    (f"{ROLE} Answer. <image>\nWhat is shown? Use one word.", "heart"),
    (f"{ROLE} Answer. <image>\nIs it 2.5 cm? Use one word.", "yes"),
    (f"{ROLE_ZH}请回答。<image>\n这是什么部位?请用词回答。", "胸腔"),
    (f"{ROLE} Write a report. <image>\n", "Findings: none."),
    (f"{ROLE} Diagnose. The diagnoses are:\nnormal\ndrusen\nedema\n<image>\nWhich one?", "drusen"),
    (f"{ROLE} Name it. {BOX} <image>\nWhat is <ref>this</ref><box>[[4, 3, 5, 7]]</box> here?", "right mandible"),
    (f"{ROLE} Find it. {BOX} <image>\nPlease locate <ref>liver</ref>.", "<ref>liver</ref><box>[[1, 2, 3, 4]]</box>"),
    (f"{ROLE} Ground it. {BOX} <image>\nDescribe <ref>lung</ref>", "<ref>lung</ref><box>[[1, 2, 3, 4]]</box>: clear."),
]


def write_samples(folder: Path, samples=SAMPLES, base=()) -> f.PublishedSamples:
    lines = [
        {"id": i, "conversations": [{"from": "human", "value": human}, {"from": "gpt", "value": answer}]}
        for i, (human, answer) in enumerate(samples)
    ]
    data, meta = folder / "data_file.jsonl", folder / "meta_file.json"
    data.write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\n", encoding="utf-8")
    registry = {f"set{i}": {"root": "r", "base_prompt": text} for i, text in enumerate(base)}
    meta.write_text(json.dumps(registry), encoding="utf-8")
    return f.PublishedSamples(data, meta)


@pytest.fixture(scope="module")
def tokenizer_json() -> bytes:
    from tokenizers import Tokenizer, models

    return Tokenizer(models.BPE()).to_str().encode()


@pytest.fixture
def book(tmp_path: Path, tokenizer_json: bytes):
    return f.read_prompts({"template": "Hermes-2"}, tokenizer_json, write_samples(tmp_path))[0]


def whole(book, task: Task, language: Language, question: str) -> str:
    before, after = book.before_and_after(task, language)
    return f"{before}<image>{after}{book.suffix(task, language, question)}"


def test_every_task_is_recognised_by_what_it_asks_and_answers(book) -> None:
    en, both = {"en"}, {"en", "zh"}
    assert {task: set(languages) for task, languages in book.templates.items()} == (
        {"vqa": both, "report": en, "classify": en, "identify": en, "detect": en, "grounded_report": en}
    )


def test_a_question_comes_out_as_the_weights_saw_it(book) -> None:
    start = f"<|im_start|>system\n{f.FRAMES['Hermes-2'].system}<|im_end|><|im_start|>user\n"
    end = "<|im_end|><|im_start|>assistant\n"
    for task, index, asked in ((Task.VQA, 0, "What is shown?"), (Task.DETECT, 6, "Please locate <ref>liver</ref>.")):
        human = SAMPLES[index][0].replace("<image>", "<img><image></img>")
        assert whole(book, task, Language.EN, asked) == start + human + end
    # One sample alone does not tell where the question ends and the instruction begins.
    chinese = whole(book, Task.VQA, Language.ZH, "这是什么部位?请用词回答。")
    assert chinese == start + SAMPLES[2][0].replace("<image>", "<img><image></img>") + end
    report = SAMPLES[3][0].replace("<image>", "<img><image></img>")
    assert (
        book.templates["report"]["en"] == "\n" + end and book.before_and_after(Task.REPORT, Language.EN)[0] in start + report
    )


def test_the_runtime_reads_it(book) -> None:
    assert PromptBook.from_json(book.to_json()) == book


def test_candidates_get_a_slot(book) -> None:
    before, _ = book.before_and_after(Task.CLASSIFY, Language.EN)
    assert before.endswith(f"The diagnoses are:\n{LABELS_SLOT}\n<img>")


def test_a_registry_fills_in_what_no_sample_shows(tmp_path: Path, tokenizer_json: bytes) -> None:
    chinese = f"{ROLE} Find it. 找出它。"
    samples = write_samples(tmp_path, base=[f"{ROLE} Answer. Briefly.", chinese])
    book, _ = f.read_prompts({"template": "Hermes-2"}, tokenizer_json, samples)
    assert book.before_and_after(Task.DETECT, Language.ZH)[0].endswith(f"user\n{chinese} <img>")
    assert book.templates["detect"]["zh"] == f"\n{QUESTION_SLOT}<|im_end|><|im_start|>assistant\n"
    assert "Briefly" not in book.before_and_after(Task.VQA, Language.EN)[0]  # a sample shows it: that is how it was asked


def test_several_wordings_are_told(tmp_path: Path, tokenizer_json: bytes) -> None:
    other = (f"{ROLE} Reply. <image>\nWhere? Use one word.", "here")
    book, warnings = f.read_prompts({}, tokenizer_json, write_samples(tmp_path, [*SAMPLES, other]))
    assert warnings == (Message("export.several_wordings", task="vqa", language="en", count=2),)
    assert book.before_and_after(Task.VQA, Language.EN)[0].endswith(f"{ROLE} Answer. <img>")
    assert book.suffix(Task.VQA, Language.EN, "Who?").startswith("\nWho? Use one word.<|im_end|>")


def test_without_samples_ours_serve_with_a_warning(tokenizer_json: bytes) -> None:
    book, (warning,) = f.read_prompts({"template": "internvl2_5"}, tokenizer_json, None)
    assert warning == Message("export.prompts_not_given") and set(book.templates) == set(DEFAULT_PROMPTS.templates)
    before, after = book.before_and_after(Task.DETECT, Language.EN)
    assert before.endswith("<|im_end|>\n<|im_start|>user\n<img>") and after == "</img>"
    assert PromptBook.from_json(book.to_json()) == book  # the runtime reads it


def test_what_starts_every_text_starts_the_prompt() -> None:
    from tokenizers import Tokenizer, models, processors

    tokenizer = Tokenizer(models.BPE())
    tokenizer.add_special_tokens(["<s>"])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    assert f.read_prompts({}, tokenizer.to_str().encode(), None)[0].prefix.startswith("<s><|im_start|>user\n")


def conversation(human: str) -> str:
    return json.dumps({"conversations": [{"from": "human", "value": human}, {"from": "gpt", "value": "x"}]})


@pytest.mark.parametrize(
    ("data", "meta", "code", "params"),
    [
        ("", "{}", "export.no_samples", {"file": "d.jsonl"}),
        ("{}", "{}", "export.not_a_conversation", {"file": "d.jsonl", "line": 1, "mark": "<image>"}),
        (conversation("no picture"), "{}", "export.not_a_conversation", {"file": "d.jsonl", "line": 1, "mark": "<image>"}),
        (conversation("<image>?"), "[]", "export.registry_unreadable", {"file": "m.json"}),
    ],
)
def test_files_that_hold_no_samples_are_named(
    data: str, meta: str, code: str, params: dict, tmp_path: Path, tokenizer_json
) -> None:
    (tmp_path / "d.jsonl").write_text(data, encoding="utf-8")
    (tmp_path / "m.json").write_text(meta, encoding="utf-8")
    with raises_code(UsageError, code, **params):
        f.read_prompts({}, tokenizer_json, f.PublishedSamples(tmp_path / "d.jsonl", tmp_path / "m.json"))


def test_calibration_sees_the_candidates(book) -> None:
    from medrega_edge.boxes import Geometry
    from medrega_edge.evaluation.questions import Question, Truth
    from medrega_export.questions import spell

    class Spelt:
        """A tokenizer whose ids are the text itself."""

        encode = staticmethod(list)
        encode_continuation = staticmethod(lambda text, before: list(text))
        strip_special_tokens = staticmethod(str)

    asked = Question(
        id="q",
        image=Path("a"),
        question="",
        task=Task.CLASSIFY,
        truth=Truth("no"),
        language=Language.EN,
        labels=("yes", "no"),
    )
    text = "".join(spell(asked, Geometry(8, 8), book, Spelt(), ["<image>"]))
    assert "The diagnoses are:\nyes\nno\n<img><image></img>\nWhich one fits?<|im_end|>" in text
