"""A result -> what a report shows: sections of tables, charts and pictures in one language. Knows no HTML, no Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from medrega_bench.evaluation import paired
from medrega_bench.evaluation.tables import VERSIONS
from medrega_bench.reports.charts import frontier, reliability
from medrega_bench.reports.model import NOTICES, Document, Drawn, Section, Table
from medrega_bench.reports.phrases import words
from medrega_bench.reports.worst_cases import worst
from medrega_edge.domain import Language
from medrega_edge.evaluation.bootstrap import FEWEST_IMAGES

Row = dict[str, Any]

FLIPS = 40
MEASURED_ONCE = ("peak_mib", "joules")  # of a whole measuring process

# What stands in a report for each setting; the CSV holds every figure.
TELLING = {
    "single_object_single_region": ("iou", "acc50"),
    "single_object_multi_region": ("f1", "iou"),
    "multi_object_single_region": ("box.box_acc", "object-box.object_box_acc"),
    "multi_object_multi_region": ("box.box_f1", "object-box.object_box_f1"),
    "vqa_en": ("closedQuestionsAccuracy", "openQuestionsRecall"),
    "vqa_zh": ("openQuestionsAccuracy", "openQuestionsRecall"),
    "region_to_text": ("accuracy",),
    "classification_single": ("Accuracy", "F1-macro"),
    "classification_multi": ("Accuracy", "F1-macro"),
    "report_en": ("bleu1", "bleu4", "rougeL"),
    "report_zh": ("bleu1", "bleu4", "rougeL"),
}


def document(result: Row, language: Language, pictures: Mapping[str, Path] | None = None) -> Document:
    """Make a report; `pictures` finds images by their hash, and without it no picture is shown."""
    say = words(language)
    parts = (
        _packages(result, say),
        *_frontier(result, say),
        *_losses(result, say),
        *_accuracy(result, say),
        *_beside(result, say),
        *_reliance(result, say),
        *_reliability(result, say),
        *_speed(result, say),
        *worst(result, say, pictures or {}),
    )
    return Document(language, say["title"], NOTICES[language], tuple(facts(result, say)), parts)


def comparison(compared: Row, language: Language, names: tuple[str, str]) -> Document:
    """Make a report of two results."""
    say = words(language)
    facts = ((say["before"], names[0]), (say["after"], names[1]), (say["questions"], str(compared["n"])))
    sections = tuple(_compared(compared, say, "compared", say["before_after"]))
    return Document(language, say["before_after"], NOTICES[language], facts, sections)


def facts(result: Row, say: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What was measured when, with what, on what."""
    data, machine = result["data"], result["environment"]
    where = f"{data['name']}, {data['split']}" if data["split"] else say["quick"]
    yield say["data"], f"{where} ({data['questions']} {say['questions']}, {data['images']} {say['images']})"
    yield say["measured"], f"{result['measured']}, {say['commit']} {result['commit'] or '-'}"
    yield say["with"], result["command"]
    memory = f", {machine['memory_gib']} {say['memory']}" if machine["memory_gib"] else ""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    yield say["on"], f"{machine['processor']}, {machine['threads']} {say['threads']}{memory}; {versions}"
    if result["read_bandwidth_gb_per_second"] is not None:
        yield say["bandwidth"], f"{result['read_bandwidth_gb_per_second']:.1f}"


def _packages(result: Row, say: Mapping[str, str]) -> Section:
    keys = ("role", "name", "version", "precision", "size", "overall", "questions", "left_out", "manifest")
    rows = []
    for one in result["packages"]:
        model, overall = one["model"], one["overall"]
        rows.append(
            (say[one["role"]], model["name"], model["version"], model["precision"], f"{one['mib']:.1f}",
             percent(overall, say), str(len(one["rows"])), str(one["left_out"]), model["sha256"][:12])
        )  # fmt: skip
    return Section("packages", say["packages"], tables=(Table(tuple(say[key] for key in keys), tuple(rows)),))


def percent(figure: Row | None, say: Mapping[str, str]) -> str:
    """A figure with its interval in per cent."""
    if figure is None or figure["value"] is None:
        return say["none"]
    text = f"{100 * figure['value']:.1f}"
    if figure["interval"]:
        low, high = figure["interval"]
        text += f" ({100 * low:.1f} {say['to']} {100 * high:.1f})"
    return text


def _share(value: float | None, say: Mapping[str, str]) -> str:
    return say["none"] if value is None else f"{100 * value:.1f}"


def _named(one: Row) -> str:
    return f"{one['model']['name']} {one['model']['version']}, {one['model']['precision']}"


def _frontier(result: Row, say: Mapping[str, str]) -> Iterator[Section]:
    """Each precision and device a point."""
    against = any(one["role"] == "reference" for one in result["packages"])
    points = [
        {
            "x": stage["questions_per_second"]["median"],
            "x_range": [stage["questions_per_second"]["min"], stage["questions_per_second"]["max"]],
            "reference": one["role"] == "reference",
            "text": f"{_named(one)}, {stage['device']}, {stage['threads']} {say['threads']}",
            **_height(one, against),
        }
        for one in result["packages"]
        for stage in one["speed"]
        if one["overall"] is not None
    ]
    kind = "loss" if against else "value"
    heads = ("", say["package"], say["x_speed"], say[f"y_{kind}"])
    rows = tuple(
        (str(number), point["text"], f"{point['x']:.2f}", percent({"value": point["y"], "interval": point["y_range"]}, say))
        for number, point in enumerate(points, 1)
    )
    chart = frontier(points)
    if chart is not None:
        drawn = Drawn(chart, say["x_speed"], say[f"y_{kind}"])
        yield Section("frontier", say["frontier"], say[f"frontier_{kind}"], (Table(heads, rows),), drawn)


def _height(one: Row, against: bool) -> Row:
    """A package's loss over all places asked for, or without a reference its overall figure."""
    if not against:
        return {"y": one["overall"]["value"], "y_range": one["overall"]["interval"]}
    if one["loss"] is None:
        return {"y": 0.0, "y_range": [0.0, 0.0]}
    return {"y": one["loss"]["overall"]["value"], "y_range": one["loss"]["overall"]["interval"]}


def _losses(result: Row, say: Mapping[str, str]) -> Iterator[Section]:
    for number, one in enumerate(result["packages"]):
        if one["loss"]:
            yield from _compared(one["loss"], say, f"loss-{number}", f"{say['loss']}: {_named(one)}")


def _compared(compared: Row, say: Mapping[str, str], key: str, title: str) -> Iterator[Section]:
    heads = ("task", "language", "figure", "questions", "before", "after", "loss_95", "significant", "flipped", "changed")
    rows = []
    for entry in paired.whole(compared["accuracy"]):
        for name in paired.MEANS:
            figure = entry[name]
            if figure is not None:
                loss = percent({"value": figure["loss"], "interval": figure["interval"]}, say)
                rows.append(
                    (entry["task"], entry["language"], name, str(entry["n"]), f"{100 * figure['reference']:.1f}",
                     f"{100 * figure['package']:.1f}", loss, say["yes" if figure["significant"] else "no"],
                     _share(entry["flipped"], say), _share(entry["changed"], say))
                )  # fmt: skip
    yield Section(key, title, say["loss_note"], (Table(tuple(say[head] for head in heads), tuple(rows)),))
    if compared["flips"]:
        names = ("question", "truth", "before", "after", "worth")
        flips = tuple(
            (
                one["question"],
                one["truth"],
                *(one[key] or say["nothing"] for key in ("before", "after")),
                f"{one['gain']:+.2f}",
            )
            for one in compared["flips"][:FLIPS]
        )
        total = len(compared["flips"])
        shown = f" ({len(flips)} / {total})" if total > FLIPS else f" ({total})"
        yield Section(f"{key}-flips", say["flips"] + shown, tables=(Table(tuple(say[name] for name in names), flips),))


def _accuracy(result: Row, say: Mapping[str, str]) -> Iterator[Section]:
    for number, one in enumerate(result["packages"]):
        tables = []
        for setting, entry in one["tables"]["settings"].items():
            names = TELLING[setting]
            rows = []
            for kind, group, figures in groups_of_setting(entry):
                label = say["all"] if kind == "all" else group
                shown = tuple(percent(_figure(figures, name), say) for name in names)
                rows.append((label, str(figures["n"]), str(figures["images"]), *shown))
            heads = (say["group"], say["questions"], say["images"], *names)
            tables.append(Table(heads, tuple(rows), setting))
        yield Section(f"accuracy-{number}", f"{say['accuracy']}: {_named(one)}", say["accuracy_note"], tuple(tables))


def _figure(figures: Row, name: str) -> Row:
    return _where_enough(figures["figures"][name], figures["images"])


def _where_enough(figure: Row, images: int) -> Row:
    """A figure, without its interval where images are too few for one."""
    return figure if images >= FEWEST_IMAGES else figure | {"interval": None}


def groups_of_setting(entry: Row) -> Iterator[tuple[str, str, Row]]:
    """All groups of a setting: (what parts them, the group's name, its figures)."""
    yield "all", "", entry["all"]
    for kind in ("language", "modality", "dataset", "kind"):
        for name, figures in entry.get(kind, {}).items():
            yield kind, name, figures


def _beside(result: Row, say: Mapping[str, str]) -> Iterator[Section]:
    heads = (say["package"], say["figure"], say["questions"], say["value"])
    rows = tuple(
        (_named(one), say[name], str(figure["n"]), percent(_where_enough(figure, figure["images"]), say))
        for one in result["packages"]
        for name, figure in one["tables"]["beside"].items()
    )
    yield Section("beside", say["beside"], tables=(Table(heads, rows),))


def _reliance(result: Row, say: Mapping[str, str]) -> Iterator[Section]:
    rows = []
    for one in result["packages"]:
        for setting, entry in one["tables"]["settings"].items():
            for language, figures in entry["language"].items() if "cot" in entry else ():
                for name in TELLING[setting]:
                    versions = [entry.get(version, {}).get(language) for version in VERSIONS]
                    shown = ["" if made is None else _share(made["figures"][name]["value"], say) for made in versions]
                    with_image = percent(figures["figures"][name], say)
                    rows.append((_named(one), f"{setting}, {language}: {name}", str(figures["n"]), with_image, *shown))
    if rows:
        heads = (say["package"], say["figure"], say["questions"], say["with_image"], *(say[name] for name in VERSIONS))
        yield Section("reliance", say["reliance"], say["reliance_note"], (Table(heads, tuple(rows)),))


def _reliability(result: Row, say: Mapping[str, str]) -> Iterator[Section]:
    for number, one in enumerate(result["packages"]):
        confidence = one["tables"]["confidence"]
        chart = reliability(confidence["bins"]) if confidence else None
        if chart is not None:
            ece = percent(confidence["figures"]["ece"], say)
            table = Table((say["figure"], say["questions"], say["value"]), ((say["ece"], str(confidence["n"]), ece),))
            drawn = Drawn(chart, say["x_sure"], say["y_right"])
            title = f"{say['reliability']}: {_named(one)}"
            yield Section(f"reliability-{number}", title, say["reliability_note"], (table,), drawn)


def _speed(result: Row, say: Mapping[str, str]) -> Iterator[Section]:
    spread = ("median", "p90", "min", "max")
    heads = tuple(say[key] for key in ("package", "device", "threads", "stage", *spread))
    rows = tuple(
        (_named(one), stage["device"], str(stage["threads"]), name, *(f"{value[key]:.4g}" for key in spread))
        for one in result["packages"]
        for stage in one["speed"]
        for name, value in stages(stage)
    )
    if rows:
        yield Section("speed", say["speed"], say["speed_note"], (Table(heads, rows),))


def stages(stage: Row) -> Iterator[tuple[str, Row]]:
    """The stages and ratios of one measurement of speed, each with its spread, and what was measured once."""
    for name, value in (stage | stage["ratios"]).items():
        if isinstance(value, dict) and "median" in value:
            yield name, value
    for name in MEASURED_ONCE:
        if stage.get(name) is not None:
            yield name, dict.fromkeys(("median", "p90", "min", "max"), stage[name]) | {"n": 1}


def figures_of(result: Row) -> Iterator[Sequence[object]]:
    """Every figure of a result as a row of the CSV, its heads first."""
    yield ("package", "precision", "role", "section", "name", "parted_by", "group", "n", "value", "low", "high")
    for one in result["packages"]:
        who = (one["model"]["name"], one["model"]["precision"], one["role"])
        for setting, entry in one["tables"]["settings"].items():
            for kind, group, figures in groups_of_setting(entry):
                for name, figure in figures["figures"].items():
                    yield *who, setting, name, kind, group, figures["n"], figure["value"], *(figure["interval"] or ("", ""))
        for name, figure in one["tables"]["beside"].items():
            yield *who, "beside", name, "all", "", figure["n"], figure["value"], *(figure["interval"] or ("", ""))
        for entry in one["loss"]["accuracy"] if one["loss"] else ():
            group = entry["modality"] or ""
            for name in paired.MEANS:
                if entry[name] is not None:
                    loss = entry[name]
                    kind = f"{entry['task']}, {entry['language']}"
                    yield *who, "loss", name, kind, group, entry["n"], loss["loss"], *loss["interval"]
        for stage in one["speed"]:
            where = f"{stage['device']}, {stage['threads']} threads"
            for name, value in stages(stage):
                yield *who, "speed", name, "device", where, value["n"], value["median"], value["min"], value["max"]
