"""The result of `medrega bench tasks` as tables of a document: goals, reliance, modalities, reports, reliability.

Knows results; measures nothing.
"""

from __future__ import annotations

from typing import Any

from medrega_bench.metrics.labels import BINS
from medrega_bench.reports.markdown import measured_with, percent, signed
from medrega_edge.vocabulary.label_sets import MODALITY_NAMES

# Rows of the README's table: what, where its figure stands in the tables, goal, and MedRegA's own figure in percent.
_Where = tuple[str, ...]
GOALS: tuple[tuple[str, _Where, str, str, str], ...] = (
    ("SLAKE English, closed accuracy", ("vqa_en", "dataset", "slake"), "closedQuestionsAccuracy", "80", "85.4"),
    ("SLAKE English, open recall", ("vqa_en", "dataset", "slake"), "openQuestionsRecall", "75", "80.5"),
    ("SLAKE Chinese, accuracy by recall >= 0.75", ("vqa_zh", "dataset", "slake"), "openQuestionsAccuracy", "70", "58.6"),
    ("VQA-RAD, closed accuracy", ("vqa_en", "dataset", "vqa_rad"), "closedQuestionsAccuracy", "65", "75.3"),
    ("detection, one object, one region: accuracy at 0.5", ("single_object_single_region", "all"), "acc50", "60", "45.1"),
    ("detection, one object, one region: IoU", ("single_object_single_region", "all"), "iou", "55", "42.7"),
    (
        "detection, several objects, one region each: alignment",
        ("multi_object_single_region", "all"),
        "object-box.object_box_acc",
        "50",
        "44.9",
    ),
    (
        "detection, several objects, several regions: alignment F1",
        ("multi_object_multi_region", "all"),
        "object-box.object_box_f1",
        "30",
        "28.1",
    ),
    ("region to text, structures", ("region_to_text", "kind", "structure"), "accuracy", "80", "73.1"),
    ("region to text, lesions", ("region_to_text", "kind", "lesion"), "accuracy", "75", "59.4"),
)


# The same for what no setting measures, under its name in the tables.
GOALS_BESIDE: tuple[tuple[str, str, str, str], ...] = (
    ("single-label classification, macro F1, mean over data sets", "mean_f1", "70", "48.0"),
    ("modality recognised", "kind_of_image", "99", ""),
    ("absent objects: answers with a box", "false_boxes", "<= 5", ""),
    ("present objects: answers without a box", "missed", "<= 10", ""),
    ("calibration error of box confidence at IoU 0.5", "ece", "<= 8", ""),
    ("same box in English and Chinese (IoU >= 0.9)", "same_box", "90", ""),
)


# Rows of the goals that the short table shows, under its own names.
SUMMARY = {
    "detection, one object, one region: accuracy at 0.5": "locate an object: IoU >= 0.5",
    "region to text, structures": "name a structure in a box",
    "region to text, lesions": "name a lesion in a box",
    "single-label classification, macro F1, mean over data sets": "choose a class: macro F1",
    "SLAKE English, closed accuracy": "yes/no question, SLAKE English",
    "SLAKE English, open recall": "open question, SLAKE English: recall",
    "SLAKE Chinese, accuracy by recall >= 0.75": "question, SLAKE Chinese",
    "VQA-RAD, closed accuracy": "yes/no question, VQA-RAD",
    "modality recognised": "recognise the modality",
}


def summary_table(result: dict[str, Any]) -> str:
    """The package beside full precision and beside a classifier of the question text alone, in percent; a few rows."""
    alone = {
        (entry["setting"], entry["dataset"], entry["figure"]): entry["versions"]["question_trained"]
        for entry in result["reliance"]
        if "question_trained" in entry["versions"]
    }
    package, full = result["tables"], result.get("reference")
    rows = {}
    for name, where, figure, _, _ in GOALS:
        if entry := _entry(package, where):
            text = percent(alone.get((where[0], where[-1], figure)), False)
            other = _entry(full, where)
            rows[name] = (str(entry["n"]), percent(entry["figures"][figure]),
                          percent(other["figures"][figure], False) if other else "", text)  # fmt: skip
    for name, figure, _, _ in GOALS_BESIDE:
        if entry := package["beside"].get(figure):
            rows[name] = str(entry["n"]), percent(entry), percent(full["beside"].get(figure), False) if full else "", ""
    lines = ["| task | questions | package (95 %) | full precision | question text alone |", "|---|---|---|---|---|"]
    lines += [f"| {shown} | {' | '.join(rows[name])} |" for name, shown in SUMMARY.items() if name in rows]
    return "\n".join([*lines, "", measured_with(result)])


def goals_table(result: dict[str, Any]) -> str:
    """The package beside full precision, what it loses against it, its goals and MedRegA's own figures, in percent."""
    package, full, loss = result["tables"], result.get("reference"), result.get("loss")
    lines = [
        "| task | questions | package (95 %) | full precision | loss (95 %) | goal | MedRegA, other data |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, where, figure, goal, theirs in GOALS:
        entry, other = _entry(package, where), _entry(full, where)
        if entry:
            whole = percent(other["figures"][figure], False) if other else ""
            fallen = _loss((_entry(loss, where) or {}).get(figure))
            value = percent(entry["figures"][figure])
            lines.append(f"| {name} | {entry['n']} | {value} | {whole} | {fallen} | {goal} | {theirs} |")
    for name, figure, goal, theirs in GOALS_BESIDE:
        entry = package["beside"].get(figure)
        if entry:
            whole = percent(full["beside"].get(figure), False) if full else ""
            fallen = _loss(loss["beside"].get(figure) if loss else None)
            lines.append(f"| {name} | {entry['n']} | {percent(entry)} | {whole} | {fallen} | {goal} | {theirs} |")
    return "\n".join([*lines, "", measured_with(result)])


def boxes_table(result: dict[str, Any]) -> str:
    """Boxes of one object by language, modality and label, the commonest labels first, and names by language."""
    settings = result["tables"]["settings"]
    boxes, names = settings["single_object_single_region"], settings["region_to_text"]["language"]
    lines = ["| one object, one region | questions | IoU, % (95 %) | accuracy at IoU 0.5, % (95 %) |", "|---|---|---|---|"]
    rows = [("**all**", boxes["all"])]
    rows += [(f"{group}: {name}", entry) for group in ("language", "modality") for name, entry in boxes[group].items()]
    rows += list(boxes.get("object", {}).items())
    for name, entry in rows:
        figures = entry["figures"]
        lines.append(f"| {name} | {entry['n']} | {percent(figures['iou'])} | {percent(figures['acc50'])} |")
    lines += ["", "| the name of what is in a box | questions | accuracy, % (95 %) |", "|---|---|---|"]
    for name, entry in names.items():
        lines.append(f"| language: {name} | {entry['n']} | {percent(entry['figures']['accuracy'])} |")
    return "\n".join([*lines, "", measured_with(result)])


def _loss(figure: dict[str, Any] | None) -> str:
    if figure is None:
        return ""
    text = signed(figure["loss"], figure["interval"])
    return f"**{text}**" if figure["significant"] else text


def _entry(tables: dict[str, Any] | None, where: _Where) -> dict[str, Any] | None:
    node: Any = (tables or {}).get("settings", {})
    for key in where:
        node = node.get(key, {}) if node else {}
    return node or None


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
BESIDE_THE_IMAGE = ("blank", "other", "question_only", "question_trained", "cot")


def reliance_table(result: dict[str, Any]) -> str:
    """What the image is worth: the same questions with their image, a blank one, another one, none, and regions first."""
    lines = [
        "| the same questions | with the image (95 %) | blank image | gain (95 %) | another patient's | gain (95 %) "
        "| question alone: lookup | question alone: trained | gain (95 %) | regions first |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for entry in result["reliance"]:
        versions = entry["versions"]
        of = WORDS.get(entry["dataset"] or entry["setting"], entry["dataset"])
        shown = {name: percent(versions[name], False) if name in versions else "" for name in BESIDE_THE_IMAGE}
        gains = {name: _gain(versions[name]) if name in versions else "" for name in BESIDE_THE_IMAGE}
        cells = (
            f"{of}, {WORDS[entry['language']]}: {WORDS[entry['figure']]}", percent(entry), shown["blank"], gains["blank"],
            shown["other"], gains["other"], shown["question_only"], shown["question_trained"], gains["question_trained"],
            shown["cot"],
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", measured_with(result)])


def _gain(version: dict[str, Any]) -> str:
    return signed(version["gain"]["value"], version["gain"]["interval"]) if version["gain"] else ""


# What a table of modalities shows of each: head, setting, figure.
BY_MODALITY = (
    ("one object: accuracy at IoU 0.5", "single_object_single_region", "acc50"),
    ("region to text: accuracy", "region_to_text", "accuracy"),
    ("free questions, English: closed accuracy", "vqa_en", "closedQuestionsAccuracy"),
    ("free questions, Chinese: accuracy", "vqa_zh", "openQuestionsAccuracy"),
    ("one class: macro F1", "classification_single", "F1-macro"),
    ("reports, English: ROUGE-L", "report_en", "rougeL"),
)


def modality_table(result: dict[str, Any]) -> str:
    """Each kind of image with a figure of every task that it was asked about; questions in brackets."""
    settings, recognised = result["tables"]["settings"], result["tables"]["modality"]
    heads = ("", *(head for head, _, _ in BY_MODALITY), "kind recognised")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for modality, (name, _) in MODALITY_NAMES.items():
        cells = []
        for _, setting, figure in BY_MODALITY:
            entry = settings.get(setting, {}).get("modality", {}).get(modality)
            cells.append(f"{percent(entry['figures'][figure], False)} ({entry['n']})" if entry else "")
        kind = percent({"value": recognised[modality]}, False) if modality in recognised else ""
        lines.append(f"| {name} | {' | '.join(cells)} | {kind} |")
    return "\n".join([*lines, "", measured_with(result)])


def report_table(result: dict[str, Any]) -> str:
    """Words of reports against references, and the regions of their sentences."""
    lines = [
        "| reports | number | BLEU-1 | BLEU-4 | ROUGE-L (95 %) | METEOR "
        "| regions of sentences: F1 (95 %) | precision | recall |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for language, entry in result["reports"].items():
        for key, against in (("words", "against their annotations"), ("notes", "against clinicians' notes")):
            if key not in entry:
                continue
            words = entry[key]["figures"]
            placed = entry.get("regions", {}).get("figures", {}) if key == "words" else {}
            cells = (
                f"{WORDS[language]}, {against}", str(entry[key]["n"]), percent(words["bleu1"], False),
                percent(words["bleu4"], False), percent(words["rougeL"]), percent(words["meteor_without_synonyms"], False),
                percent(placed.get("f1")), percent(placed.get("precision"), False), percent(placed.get("recall"), False),
            )  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", measured_with(result)])


def reliability_words(result: dict[str, Any]) -> str:
    """The calibration of box confidences in a sentence."""
    confidence = result["tables"]["confidence"]
    figures = confidence["figures"]
    sure, right = (percent(figures[name], False) for name in ("mean_confidence", "share_right"))
    return (
        f"Of {confidence['n']} boxes, asked for one object each, {right} % overlap the true one by half; their mean "
        f"confidence says {sure} %. The expected calibration error, the mean distance between the two over {BINS} bins of "
        f"confidence, is {percent(figures['ece'])} %.\n\n{measured_with(result)}"
    )
