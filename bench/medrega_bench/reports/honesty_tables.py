"""The result of `medrega bench honesty` as tables."""

from __future__ import annotations

from collections.abc import Iterator

from medrega_bench.evaluation.honesty import HonestyResult
from medrega_bench.reports.field_tables import table
from medrega_bench.reports.percentages import percent
from medrega_bench.reports.task_tables import WORDS

VERSIONS = {
    "blank": "blank picture",
    "other": "another image",
    "question_only": "text alone: lookup",
    "question_trained": "text alone: trained",
}
DOORS = {
    "ask": "`medrega ask`, a question only",
    "library": "Python, nothing opened as an image",
    "batch": "`medrega batch`, a line without an image",
    "chat": "`medrega serve`, a message without an image",
}
WAYS = {
    "labels": "`classify --labels` without the true class",
    "classes": '"Is it A or B?" of two wrong classes',
    "kinds": '"Is this an A or a B?" of two wrong kinds of image',
}
OUTCOMES = {
    "stated": "states one",
    "guessed": "names one as a guess",
    "another": "names another",
    "nothing": "not sure, or refuses",
}
WORDINGS = {
    "locate": "where is X",
    "presence": "is there X",
    "modality": "kind of image",
    "body_part": "body part",
    "class": "A, B or C",
    "largest": "largest organ, SLAKE",
}


def mirage_table(result: HonestyResult) -> str:
    """Mirage scores: accuracy without the image over accuracy with it, by figure and by what was shown instead."""
    heads = ("free questions", "number", "with the image, %", *(f"{name}: score, %" for name in VERSIONS.values()))
    return table(heads, _mirage(result), result)


def _mirage(result: HonestyResult) -> Iterator[tuple[str, ...]]:
    for language, dataset, figure in dict.fromkeys((one.language, one.dataset, one.figure) for one in result.mirage):
        mine = {
            one.version: one
            for one in result.mirage
            if (one.language, one.dataset, one.figure) == (language, dataset, figure)
        }
        first = next(iter(mine.values()))
        name = f"{WORDS.get(dataset, dataset)}, {WORDS[language]}: {WORDS[figure]}"
        yield name, str(first.n), percent(first.seen), *(percent(mine[version].score) for version in VERSIONS)


def clean_table(result: HonestyResult) -> str:
    """Right answers over all questions, and over those that no blind answerer gets right; how often one is stated."""
    heads = (
        "free questions",
        "number",
        "right, %",
        "left in B-Clean",
        "right of these, %",
        "stated as sure, %",
        "of a blank picture, %",
        "of another image, %",
    )
    return table(heads, _clean(result), result)


def _clean(result: HonestyResult) -> Iterator[tuple[str, ...]]:
    stated = {(one.language, one.dataset): one.stated for one in result.stated}
    for one in result.clean:
        said = stated[one.language, one.dataset]
        left = str(one.clean.n if one.clean else 0)
        yield (
            f"{WORDS.get(one.dataset, one.dataset)}, {WORDS[one.language]}",
            str(one.questions),
            percent(one.all),
            left,
            percent(one.clean),
            *(percent(said[name]) for name in ("seen", "blank", "other")),
        )


def no_image_table(result: HonestyResult) -> str:
    """Refusals of questions without an image, at each way into the program."""
    rows = ((DOORS[one.door], str(one.refused.n), percent(one.refused)) for one in result.no_image)
    return table(("way in", "questions", "refused, % (95 %)"), rows, result)


def hidden_table(result: HonestyResult) -> str:
    """What is said where no option that is offered is right."""
    heads = ("only wrong options", "questions", *(f"{name}, %" for name in OUTCOMES.values()), "states one, all offered, %")
    return table(heads, _hidden(result), result)


def _hidden(result: HonestyResult) -> Iterator[tuple[str, ...]]:
    for one in result.hidden:
        yield WAYS[one.way], str(one.n), *(percent(one.outcomes[name]) for name in OUTCOMES), percent(one.usual)


def consistency_table(result: HonestyResult) -> str:
    """Shares of questions whose answers agree in all wordings."""
    heads = (
        "question",
        "number",
        "all 5 English agree, %",
        "all 5 Chinese agree, %",
        "all 10 agree, %",
        "none refused, %",
        "with two answers or more",
        "these answers agree, %",
    )
    rows = (
        (
            WORDINGS[one.kind],
            str(one.n),
            *(percent(each) for each in (one.en, one.zh, one.both, one.answered)),
            str(one.answers.n if one.answers else 0),
            percent(one.answers),
        )
        for one in result.consistency
    )
    return table(heads, rows, result)


def cycle_table(result: HonestyResult) -> str:
    """From a box to its name and back."""
    one = result.cycle
    rows = (
        ("the name is right", one.named_right),
        ("what was named is located there again: IoU >= 0.5", one.box_returns),
        ("and there it gets the same name", one.returns),
        ("the same, of right names", one.returns_of_right),
        ("the same, of wrong names", one.returns_of_wrong),
    )
    counted = ((name, str(share.n), percent(share)) for name, share in rows if share is not None)
    return table(("box, name, box", "boxes", "% (95 %)"), counted, result)
