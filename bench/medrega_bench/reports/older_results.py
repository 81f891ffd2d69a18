"""Results of earlier versions, brought to the layout of today: the one place that knows their keys."""

from __future__ import annotations

from typing import Any

_FIGURES = {"mean_iou": "iou", "acc50": "acc50", "accuracy": "accuracy"}  # their name -> today's


def modern(result: dict[str, Any]) -> dict[str, Any]:
    """Return a result in the layout of `medrega bench tasks`; one that is no older result comes back as it is.

    Until 0.4.0 `medrega bench accuracy` wrote figures of one object and one region, and of names, under keys of its own.
    """
    tables = result.get("tables")
    if not isinstance(tables, dict) or "overall" not in tables:
        return result
    groups = {name: _entries(tables[name]) for name in ("language", "modality", "object")}
    settings = {
        "single_object_single_region": {"all": _entry(tables["overall"]["all"]), **groups},
        "region_to_text": {"language": _entries(tables["identify"])},
    }
    command = result["command"].removeprefix("medrega ")  # a command that is gone: nobody shall paste it
    return result | {"tables": {"settings": settings}, "command": command}


def _entries(group: dict[str, Any]) -> dict[str, Any]:
    return {name: _entry(figure) for name, figure in group.items()}


def _entry(figure: dict[str, Any]) -> dict[str, Any]:
    figures = {
        today: {"value": figure[name], "interval": figure[f"{name}_interval"]}
        for name, today in _FIGURES.items()
        if name in figure
    }
    return {"n": figure["n"], "images": figure.get("images"), "figures": figures}
