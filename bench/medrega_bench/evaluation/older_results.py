"""Results of earlier versions, brought to the layout of today: the one place that knows their keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_FIGURES = {"mean_iou": "iou", "acc50": "acc50", "accuracy": "accuracy"}  # their name -> today's


def modern_tasks(result: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a result in the layout of `medrega bench tasks`; one that is no older result comes back as it is.

    Until 0.4.0 `medrega bench accuracy` wrote figures of one object and one region, and of names, under keys of its own.
    """
    tables = result.get("tables")
    if not isinstance(tables, dict) or "overall" not in tables:
        return result
    groups = {name: _entries(tables[name]) for name in ("language", "modality", "object")}
    names = _entries(tables["identify"])
    settings = {
        "single_object_single_region": {"all": _entry(tables["overall"]["all"]), **groups},
        "region_to_text": {"all": _together(names), "language": names},
    }
    command = result["command"].removeprefix("medrega ")  # a command that is gone: nobody shall paste it
    return {**result, "tables": {"settings": settings}, "loss": None, "command": command}


def modern_run(result: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a result of `medrega bench run` in today's layout.

    Until 0.2.0 the figures that no setting measures had keys of their own, and no intervals.
    """
    packages = [{**package, "tables": _modern_tables(package["tables"])} for package in result["packages"]]
    return {**result, "packages": packages}


def _modern_tables(tables: dict[str, Any]) -> dict[str, Any]:
    if "beside" in tables:
        return tables
    absent, languages, modality = (tables[name] for name in ("absent", "languages_agree", "modality"))
    beside = {
        "false_boxes": (absent["absent"], absent["false_boxes"]),
        "missed": (absent["present"], absent["missed"]),
        "same_box": (languages["n"], languages["same"]),
        "kind_of_image": (modality["n"], modality["right"]),
    }
    return {
        "settings": tables["settings"],
        "beside": {name: {"n": n, "images": None, "value": v, "interval": None} for name, (n, v) in beside.items()},
        "confidence": tables["confidence"],
        "modality": modality["by_kind"],
    }


def _entries(group: dict[str, Any]) -> dict[str, Any]:
    return {name: _entry(figure) for name, figure in group.items()}


def _entry(figure: dict[str, Any]) -> dict[str, Any]:
    figures = {
        today: {"value": figure[name], "interval": figure[f"{name}_interval"]}
        for name, today in _FIGURES.items()
        if name in figure
    }
    return {"n": figure["n"], "images": figure.get("images"), "figures": figures}


def _together(entries: dict[str, Any]) -> dict[str, Any]:
    return {"n": sum(entry["n"] for entry in entries.values()), "images": None, "figures": {}}
