"""MedRegInstruct's conversations -> questions with truth."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from medrega_bench.datasets.entries import Entry, Made, agreeing, classified, json_of, refuse_split
from medrega_bench.datasets.questions import LeftOut
from medrega_edge.domain import Task, language_of
from medrega_edge.errors import UsageError
from medrega_edge.evaluation.questions import LabelledBoxes, Question, Truth
from medrega_edge.i18n.message import Message
from medrega_edge.io.jsonl import read_lines, read_object
from medrega_edge.prompts.region_markup import parse
from medrega_edge.prompts.templates import REPORT_QUESTION

_IMAGE = "<image>"
_REGION = re.compile(r"<ref>.*?</ref>\s*<box>.*?</box>", re.DOTALL)
_CANDIDATES = re.compile(r"[Tt]he possible \w+ are(?::\s*\n(?P<lines>.*)| (?P<inline>[^.\n]+)\.)", re.DOTALL)
_REPORT = re.compile(r"report generation|诊断报告")


def medreginstruct(path: Path, images: Path | None, split: str | None) -> Made:
    """MedRegInstruct's conversations: one JSONL file, or a meta_file.json that lists several and their prompts.

    What is asked for is read off the truth, the question and the prompt: regions in the truth, a region in the question,
    candidate labels, a report; anything else is a question about the image. Prompts themselves are not asked: a package
    has its own. Files and roots of a meta file are relative to it, or to --images.
    """
    refuse_split(split)
    if path.suffix != ".json":
        yield from _conversations(path, images or path.parent, "")
        return
    listed = json_of(path)
    if not isinstance(listed, dict):
        raise UsageError("bench.not_a_meta_file", file=path.name)
    base = images or path.parent
    for name, data in listed.items():
        place = Message("bench.named_entry", name=name, file=path.name)
        if not isinstance(data, dict):
            raise UsageError("bench.not_an_object", place=place)
        entry = Entry(place, data)
        annotation, root = base / entry.text("annotation"), base / entry.text("root")
        for made in _conversations(annotation, root, entry.text("base_prompt", "")):
            yield replace(made, id=f"{name}/{made.id}") if isinstance(made, Question) else made


def _conversations(path: Path, folder: Path, prompt: str) -> Made:
    yield from agreeing(
        [one for entry, number in _lines(path) for one in _turns(entry, f"{path.stem}/{number}", folder, prompt)]
    )


def _lines(path: Path) -> Iterator[tuple[Entry, int]]:
    for number, line in read_lines(path, Message("bench.samples")):
        try:
            yield Entry(Message("bench.line_of", number=number, file=path.name), read_object(line, number)), number
        except UsageError as error:
            raise UsageError("bench.in_file", file=path.name, problem=error.message) from None


def _turns(entry: Entry, identity: str, folder: Path, prompt: str) -> Made:
    turns = entry.data.get("conversations")
    turns = turns if isinstance(turns, list) and all(isinstance(turn, dict) for turn in turns) else []
    speakers = [turn.get("from") for turn in turns]
    if not speakers or speakers != ["human", "gpt"] * (len(speakers) // 2):
        raise UsageError("bench.no_turns", place=entry.place)
    said = [
        Entry(Message("bench.turn", place=entry.place, number=number), turn).text("value")
        for number, turn in enumerate(turns, 1)
    ]
    image = entry.image(folder)
    for number, (question, answer) in enumerate(zip(said[0::2], said[1::2], strict=True)):
        before, _, question = question.rpartition(_IMAGE)
        prompt = f"{prompt}\n{before}" if before else prompt
        yield _turn(entry, f"{identity}/{number}", image, prompt, question.strip(), answer)


def _turn(entry: Entry, identity: str, image: Path, prompt: str, question: str, answer: str) -> Question | LeftOut:
    truth, asked = parse(answer), parse(question)
    problems = truth.problems or tuple(problem for problem in asked.problems if problem.code != "prompt.lone_marker")
    if problems:
        return LeftOut(entry.place, problems[0])
    if not answer:
        return LeftOut(entry.place, Message("bench.empty_answer"))
    language = language_of(prompt + question)
    made = partial(Question, id=identity, image=image, language=language)
    if truth.regions:
        geometry = entry.geometry(image, are_shares=True)
        objects = tuple(LabelledBoxes(one.label, tuple(map(geometry.to_pixels, one.boxes))) for one in truth.regions)
        alone = not _REGION.sub("", answer).strip(" ,，、.。")
        task = Task.DETECT if alone else Task.GROUNDED_REPORT
        return made(task=task, question=asked.prose, truth=Truth(answer, objects))
    if len(asked.regions) == 1 and len(asked.regions[0].boxes) == 1:
        box = entry.geometry(image, are_shares=True).to_pixels(asked.regions[0].boxes[0])
        return made(task=Task.IDENTIFY, question=asked.prose, truth=Truth(answer), box=box)
    candidates = _candidates(prompt)
    if candidates:
        right = [label.strip() for label in answer.rstrip(".。").split(",")]
        return classified(entry, identity, image, language, candidates, right)
    if _REPORT.search(prompt):
        return made(task=Task.REPORT, question=question or REPORT_QUESTION[language], truth=Truth(answer))
    return made(task=Task.VQA, question=question, truth=Truth(answer))


def _candidates(prompt: str) -> list[str]:
    """The labels that a prompt lists, one a line up to an empty line or a remark in quotes, or in one sentence."""
    match = _CANDIDATES.search(prompt)
    if match is None:
        return []
    if match["inline"]:
        return re.split(r", | and ", match["inline"])
    labels = []
    for line in match["lines"].split("\n"):
        if not line.strip() or line.startswith('"'):
            break
        labels.append(line.strip())
    return labels
