"""The result of `medrega bench tasks` as tables of a document: goals, reliance, modalities, reports, reliability."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from medrega_bench.evaluation.results import (
    VERSIONS,
    Figure,
    FigureLoss,
    FigureSet,
    Losses,
    TableLosses,
    Tables,
    TasksResult,
    VersionFigure,
)
from medrega_bench.metrics.labels import BINS
from medrega_bench.reports.percentages import percent, share, signed
from medrega_edge.errors import UsageError
from medrega_edge.vocabulary.label_sets import MODALITY_NAMES

# Rows of the README's table: what, where its figure stands in the tables, goal, and MedRegA's own figure in percent.
Where = tuple[str, ...]  # setting, "all" or a group's kind, the group's name
GOALS: tuple[tuple[str, Where, str, str, str], ...] = (
    ("SLAKE English, closed accuracy", ("vqa_en", "dataset", "slake"), "closedQuestionsAccuracy", "84", "85.4"),
    ("SLAKE English, open recall", ("vqa_en", "dataset", "slake"), "openQuestionsRecall", "80", "80.5"),
    ("SLAKE Chinese, accuracy by recall >= 0.75", ("vqa_zh", "dataset", "slake"), "openQuestionsAccuracy", "78", "58.6"),
    ("VQA-RAD, closed accuracy", ("vqa_en", "dataset", "vqa_rad"), "closedQuestionsAccuracy", "66", "75.3"),
    ("detection, one object, one region: accuracy at 0.5", ("single_object_single_region", "all"), "acc50", "84", "45.1"),
    ("detection, one object, one region: IoU", ("single_object_single_region", "all"), "iou", "73", "42.7"),
    (
        "detection, SLAKE boxes alone: accuracy at 0.5",
        ("single_object_single_region", "dataset", "slake"),
        "acc50",
        "58",
        "",
    ),
    ("detection, SLAKE boxes alone: IoU", ("single_object_single_region", "dataset", "slake"), "iou", "54", ""),
    (
        "detection, several objects, one region each: alignment",
        ("multi_object_single_region", "all"),
        "object-box.object_box_acc",
        "76",
        "44.9",
    ),
    (
        "detection, several objects, several regions: alignment F1",
        ("multi_object_multi_region", "all"),
        "object-box.object_box_f1",
        "52",
        "28.1",
    ),
    ("region to text, structures", ("region_to_text", "kind", "structure"), "accuracy", "85", "73.1"),
    ("region to text, lesions", ("region_to_text", "kind", "lesion"), "accuracy", "92", "59.4"),
)


# The same for what no setting measures, under its name in the tables.
GOALS_BESIDE: tuple[tuple[str, str, str, str], ...] = (
    ("single-label classification, macro F1, mean over data sets", "mean_f1", "75", "48.0"),
    ("modality recognised", "kind_of_image", "99.7", ""),
    ("absent objects: answers with a box", "false_boxes", "<= 1", ""),
    ("organs missing from their own body part: answers with a box", "missing_boxes", "", ""),
    ("present objects: answers without a box", "missed", "<= 1", ""),
    ("calibration error of box confidence at IoU 0.5", "ece", "<= 4", ""),
    ("same box in English and Chinese (IoU >= 0.9)", "same_box", "90", ""),
)


# Rows of the goals that the short table shows, under its own names.
SUMMARY = {
    "detection, one object, one region: accuracy at 0.5": "locate an object: IoU >= 0.5",
    "detection, SLAKE boxes alone: accuracy at 0.5": "the same, SLAKE's boxes alone",
    "region to text, structures": "name a structure in a box",
    "region to text, lesions": "name a lesion in a box",
    "single-label classification, macro F1, mean over data sets": "choose a class: macro F1",
    "SLAKE English, closed accuracy": "yes/no question, SLAKE English",
    "SLAKE English, open recall": "open question, SLAKE English: recall",
    "SLAKE Chinese, accuracy by recall >= 0.75": "question, SLAKE Chinese",
    "VQA-RAD, closed accuracy": "yes/no question, VQA-RAD",
    "modality recognised": "recognise the modality",
}


def measured_with(result: TasksResult) -> str:
    """Say when, how and on what a result was measured."""
    machine, model = result.environment, result.model
    return (
        f"Measured {result.date} with `{result.command}` on {machine.processor}, {machine.threads} threads, "
        f"onnxruntime {machine.versions['onnxruntime']}; package {model.name} {model.version} "
        f"({model.precision}), manifest {model.sha256[:12]}; {result.split} split."
    )


def _table(result: TasksResult, heads: str, rows: Iterator[tuple[str, ...]]) -> str:
    lines = [heads, "|" + "---|" * (heads.count("|") - 1), *(f"| {' | '.join(cells)} |" for cells in rows)]
    return "\n".join([*lines, "", measured_with(result)])


def summary_table(result: TasksResult) -> str:
    """The package beside full precision and beside a classifier of the question text alone, in percent; a few rows."""
    alone = {
        (entry.setting, entry.dataset, entry.figure): entry.versions["question_trained"].value
        for entry in result.reliance
        if "question_trained" in entry.versions
    }
    package, full = result.tables, result.reference
    rows = {}
    for name, where, figure, _, _ in GOALS:
        if entry := _entry(package, where):
            other = _entry(full, where)
            text = share(alone.get((where[0], where[-1], figure)))
            rows[name] = str(entry.n), percent(entry.figures[figure]), _value(other, figure), text
    for name, figure, _, _ in GOALS_BESIDE:
        if beside := package.beside.get(figure):
            rows[name] = str(beside.n), percent(beside), _beside(full, figure), ""
    heads = "| task | questions | package (95 %) | full precision | question text alone |"
    return _table(result, heads, ((shown, *rows[name]) for name, shown in SUMMARY.items() if name in rows))


def goals_table(result: TasksResult) -> str:
    """The package beside full precision, what it loses against it, its goals and MedRegA's own figures, in percent."""
    heads = "| task | questions | package (95 %) | full precision | loss (95 %) | goal | MedRegA, other data |"
    return _table(result, heads, _goals(result))


def _goals(result: TasksResult) -> Iterator[tuple[str, ...]]:
    package, full, loss = result.tables, result.reference, result.loss
    for name, where, figure, goal, theirs in GOALS:
        if entry := _entry(package, where):
            lost = _loss(_losses(loss, where).get(figure))
            yield (
                name,
                str(entry.n),
                percent(entry.figures[figure]),
                _value(_entry(full, where), figure),
                lost,
                goal,
                theirs,
            )
    for name, figure, goal, theirs in GOALS_BESIDE:
        if beside := package.beside.get(figure):
            lost = _loss(loss.beside.get(figure) if loss else None)
            yield name, str(beside.n), percent(beside), _beside(full, figure), lost, goal, theirs


def _value(entry: FigureSet | None, figure: str) -> str:
    return share(entry.figures[figure].value) if entry else ""


def _beside(tables: Tables | None, figure: str) -> str:
    entry = tables.beside.get(figure) if tables else None
    return share(entry.value) if entry else ""


def _loss(figure: FigureLoss | None) -> str:
    if figure is None:
        return ""
    text = signed(figure.loss, figure.interval)
    return f"**{text}**" if figure.significant else text


def _entry(tables: Tables | None, where: Where) -> FigureSet | None:
    """The figures of a setting or of one of its groups; None where there are none."""
    setting, kind, *name = where
    table = tables.settings.get(setting) if tables else None
    if table is None:
        return None
    return table.all if kind == "all" else getattr(table, kind).get(*name)


def _losses(losses: TableLosses | None, where: Where) -> Losses:
    setting, kind, *name = where
    table = losses.settings.get(setting) if losses else None
    if table is None:
        return {}
    found: Losses = table.all if kind == "all" else getattr(table, kind).get(*name, {})
    return found


def boxes_table(result: TasksResult) -> str:
    """Boxes of one object by language, modality and label, the commonest labels first, and names by language."""
    heads = "| one object, one region | questions | IoU, % (95 %) | accuracy at IoU 0.5, % (95 %) |"
    boxes, names = result.tables.settings["single_object_single_region"], result.tables.settings["region_to_text"]
    entries = [("**all**", boxes.all)]
    entries += [(f"language: {name}", entry) for name, entry in boxes.language.items()]
    entries += [(f"modality: {name}", entry) for name, entry in boxes.modality.items()]
    entries += boxes.object.items()
    lines = [heads, "|---|---|---|---|"]
    lines += [f"| {name} | {x.n} | {percent(x.figures['iou'])} | {percent(x.figures['acc50'])} |" for name, x in entries]
    rows = ((f"language: {name}", str(x.n), percent(x.figures["accuracy"])) for name, x in names.language.items())
    table = _table(result, "| the name of what is in a box | questions | accuracy, % (95 %) |", rows)
    return "\n".join([*lines, "", table])


# The figures of a free question, and the data sets, as a table calls them.
WORDS = {
    "closedQuestionsAccuracy": "closed accuracy",
    "openQuestionsRecall": "open recall",
    "openQuestionsAccuracy": "accuracy by recall >= 0.75",
    "F1-macro": "macro F1",
    "classification_single": "one class",
    "classification_multi": "several classes",
    "slake": "SLAKE",
    "vqa_rad": "VQA-RAD",
    "en": "English",
    "zh": "Chinese",
}


def reliance_table(result: TasksResult) -> str:
    """What the image is worth: the same questions with their image, a blank one, another one, none, and regions first."""
    heads = (
        "| the same questions | with the image (95 %) | blank image | gain (95 %) | another patient's | gain (95 %) "
        "| question alone: lookup | question alone: trained | gain (95 %) | regions first |"
    )
    return _table(result, heads, _reliance(result))


def _reliance(result: TasksResult) -> Iterator[tuple[str, ...]]:
    for entry in result.reliance:
        name = WORDS.get(entry.dataset or entry.setting, entry.dataset)
        versions = {version: entry.versions.get(version) for version in VERSIONS}
        shown = {version: share(one.value) if one else "" for version, one in versions.items()}
        gains = {version: _gain(one) for version, one in versions.items()}
        yield (
            f"{name}, {WORDS[entry.language]}: {WORDS[entry.figure]}",
            percent(entry),
            shown["blank"],
            gains["blank"],
            shown["other"],
            gains["other"],
            shown["question_only"],
            shown["question_trained"],
            gains["question_trained"],
            shown["cot"],
        )


def _gain(version: VersionFigure | None) -> str:
    return signed(version.gain.value, version.gain.interval) if version and version.gain else ""


# What a table of modalities shows of each: head, setting, figure.
BY_MODALITY = (
    ("one object: accuracy at IoU 0.5", "single_object_single_region", "acc50"),
    ("region to text: accuracy", "region_to_text", "accuracy"),
    ("free questions, English: closed accuracy", "vqa_en", "closedQuestionsAccuracy"),
    ("free questions, Chinese: accuracy", "vqa_zh", "openQuestionsAccuracy"),
    ("one class: macro F1", "classification_single", "F1-macro"),
    ("reports, English: ROUGE-L", "report_en", "rougeL"),
)


def modality_table(result: TasksResult) -> str:
    """Each kind of image with a figure of every task that it was asked about; questions in brackets."""
    heads = ("", *(head for head, _, _ in BY_MODALITY), "kind recognised")
    return _table(result, f"| {' | '.join(heads)} |", _modalities(result.tables))


def _modalities(tables: Tables) -> Iterator[tuple[str, ...]]:
    for modality, (name, _) in MODALITY_NAMES.items():
        cells = []
        for _, setting, figure in BY_MODALITY:
            entry = _entry(tables, (setting, "modality", modality))
            cells.append(f"{_value(entry, figure)} ({entry.n})" if entry else "")
        yield name, *cells, share(tables.modality.get(modality))


def report_table(result: TasksResult) -> str:
    """Words of reports against references, and the regions of their sentences."""
    heads = (
        "| reports | number | BLEU-1 | BLEU-4 | ROUGE-L (95 %) | METEOR "
        "| regions of sentences: F1 (95 %) | precision | recall |"
    )
    return _table(result, heads, _reports(result))


def _reports(result: TasksResult) -> Iterator[tuple[str, ...]]:
    nothing: dict[str, Figure] = {}
    for language, report in result.reports.items():
        placed = report.regions.figures if report.regions else nothing
        yield _report(f"{WORDS[language]}, against their annotations", report.words, placed)
        if report.notes:
            yield _report(f"{WORDS[language]}, against clinicians' notes", report.notes, nothing)


def _report(name: str, words: FigureSet, placed: Mapping[str, Figure]) -> tuple[str, ...]:
    scores = words.figures
    precision, recall = (share(placed[key].value) if key in placed else "" for key in ("precision", "recall"))
    return (
        name,
        str(words.n),
        share(scores["bleu1"].value),
        share(scores["bleu4"].value),
        percent(scores["rougeL"]),
        share(scores["meteor_without_synonyms"].value),
        percent(placed.get("f1")),
        precision,
        recall,
    )


def reliability_words(result: TasksResult) -> str:
    """The calibration of box confidences in a sentence; raises UsageError for a result without a confidence."""
    confidence = result.tables.confidence
    if confidence is None:
        raise UsageError("bench.no_confidence")
    figures = confidence.figures
    sure, right = (share(figures[name].value) for name in ("mean_confidence", "share_right"))
    return (
        f"Of {confidence.n} boxes, asked for one object each, {right} % overlap the true one by half; their mean "
        f"confidence says {sure} %. The expected calibration error, the mean distance between the two over {BINS} bins of "
        f"confidence, is {percent(figures['ece'])} %.\n\n{measured_with(result)}"
    )
