"""A headline in one line, and the headlines of many machines as a table and a chart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from medrega_bench.evaluation.headline import Headline, headlines
from medrega_bench.evaluation.results import PackageResult
from medrega_bench.evaluation.submission import Machines, Submission
from medrega_bench.performance.quietness import told
from medrega_bench.reports.charts import bars
from medrega_bench.reports.model import Document, Drawn, Section, Table
from medrega_bench.reports.percentages import percent
from medrega_bench.reports.phrases import words
from medrega_bench.result_files import DataIdentity
from medrega_edge.domain import NOTICES, Language
from medrega_edge.errors import UsageError

HEADS = (
    "number", "processor", "device", "threads", "per_minute", "first_answer", "energy", "accuracy_of", "package",
    "versions", "measured",
)  # fmt: skip


def line(package: PackageResult, data: DataIdentity, say: Mapping[str, str]) -> str:
    """Write questions a minute, joules a question and accuracy, of the first device."""
    first, *_ = headlines(package)
    parts = [say["no_speed"] if first.questions_per_minute is None else say["rate"].format(first.questions_per_minute)]
    parts += _joules(first, say)
    parts += [f"{say['energy']}: {reasons}" for reasons in _reasons(first, say)]
    accuracy = f"{percent(first.accuracy, say['to'])} %" if first.accuracy else say["none"]
    kind = f"{say[first.accuracy_is]} " if first.accuracy_is else ""
    asked = f"{data.name}, {data.split}" if data.split else say["quick_name"]
    return "; ".join([*parts, f"{kind}{accuracy}, {asked}"])


def _joules(one: Headline, say: Mapping[str, str]) -> Iterator[str]:
    """Joules a question of which parts, and their power before."""
    if one.joules_per_question is not None and one.idle_watts is not None:
        parts = ", ".join(say[f"of_{part}"] for part in one.parts)
        yield f"{say['joules'].format(one.joules_per_question)} ({parts}; {say['idle'].format(one.idle_watts)})"


def _reasons(one: Headline, say: Mapping[str, str]) -> Iterator[str]:
    """Why the energy of a part is not known."""
    if one.missing:
        reasons = "; ".join(f"{say[f'of_{part}']}: {say[reason]}" for part, reason in one.missing.items())
        yield f"{say['unknown']} ({reasons})"


def letters(results: Sequence[Submission]) -> list[str]:
    """Return a letter for each result, the same for the same package and questions; all are empty if all are the same."""
    kinds = [(one.package.sha256, one.questions.sha256, one.headlines[0].accuracy_is) for one in results]
    known = list(dict.fromkeys(kinds))
    return [_letter(known.index(kind)) if len(known) > 1 else "" for kind in kinds]


def _letter(place: int) -> str:
    """A to Z, then AA to AZ and so on, as columns of a spreadsheet."""
    before, last = divmod(place, 26)
    return (_letter(before - 1) if before else "") + chr(ord("A") + last)


def rows_of(results: Sequence[Submission], say: Mapping[str, str]) -> list[tuple[str, ...]]:
    """Return a row for each device of each machine, in the columns of `HEADS`."""
    made = zip(results, letters(results), strict=True)
    cells = [_cells(result, one, letter, say) for result, letter in made for one in result.headlines]
    return [(str(number), *row) for number, row in enumerate(cells, 1)]


def _cells(result: Submission, one: Headline, letter: str, say: Mapping[str, str]) -> tuple[str, ...]:
    accuracy = ""
    if one.accuracy is not None and one.accuracy_is is not None:
        of = say["quick_name" if result.questions.data == "quick" else "own"]
        letter = f"{letter}: " if letter else ""
        accuracy = f"{letter}{percent(one.accuracy, say['to'])} ({say[one.accuracy_is]}, {of}, n = {one.accuracy.n})"
    device = " ".join(text for text in (one.device, one.card) if text)
    package, mark = result.package, say["disturbed"] if told(result.quietness) else ""
    known = result.machine.versions
    versions = [f"{name} {known[name]}" for name in ("medrega-edge", "onnxruntime") if known.get(name)]
    return (
        result.machine.processor,
        device,
        str(one.threads or ""),
        _number(one.questions_per_minute, ".0f", mark),
        _number(one.first_answer_ms, ".1f", mark),
        "; ".join([*_joules(one, say), *_reasons(one, say)]),
        accuracy,
        f"{package.name} {package.version or ''}, {package.precision}, {package.sha256[:8]}",
        ", ".join([*versions, f"Python {result.machine.python}"]),
        result.measured,
    )


def _number(value: float | None, form: str, mark: str) -> str:
    return "" if value is None else format(value, form) + mark


def document(results: Sequence[Submission], language: Language) -> Document:
    """Make a report of several machines: a table, a chart of questions a minute, and what may not be compared."""
    say = words(language)
    table = Table(tuple(say[head] for head in HEADS), tuple(rows_of(results, say)))
    section = Section("machines", say["machine_figures"], _note(results, say), (table,), chart(results, say))
    return Document(language, say["machines"], NOTICES[language], (), (section,))


def chart(results: Sequence[Submission], say: Mapping[str, str]) -> Drawn | None:
    """Draw questions a minute of each machine, under the numbers of the table; None where no machine has one."""
    rates = [one.questions_per_minute for result in results for one in result.headlines]
    named = [f"{processor}, {device}" for _, processor, device, *_ in rows_of(results, say)]
    drawn = bars(list(zip(named, rates, strict=True)))
    return Drawn(drawn, say["per_minute"], "") if drawn else None


def block(machines: Machines) -> str:
    """Write the machines as a table of a document, in English."""
    say = words(Language.EN)
    lines = [f"| {' | '.join(cells)} |" for cells in ([say[head] for head in HEADS], *rows_of(machines.results, say))]
    lines.insert(1, "|" + "---|" * len(HEADS))
    return "\n".join([*lines, "", _note(machines.results, say)])


def block_chart(machines: Machines) -> Drawn:
    """Draw the machines of a document; raises UsageError where no machine has a speed."""
    drawn = chart(machines.results, words(Language.EN))
    if drawn is None:
        raise UsageError("bench.no_speed_to_draw")
    return drawn


def _note(results: Sequence[Submission], say: Mapping[str, str]) -> str:
    return f"{say['machines_note']} {say['other_questions' if any(letters(results)) else 'same_questions']}"
