"""The certificate of a package: how often its answers were right, and what quantisation cost, as lines for people.

Knows the keys of certificate.json, which `medrega export` writes; knows no package and no terminal. A certificate comes from
outside: whatever in it has another shape than ours is a PackageError.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from medrega_edge.answer import Certified
from medrega_edge.errors import PackageError

FEWEST = 30  # answers about one kind of image; fewer tell less than those about all kinds

UNREADABLE = "The package's certificate cannot be read; get the package again."
_SHOWN = 12  # digits of a hash
_COLUMNS = ("task", "lang", "kind", "n", "full", "package", "loss (95 %)", "flipped")


def read(text: str) -> dict[str, Any]:
    """Read certificate.json; raises PackageError."""
    try:
        certificate = json.loads(text)
    except ValueError:
        raise PackageError(UNREADABLE) from None
    if not isinstance(certificate, dict):
        raise PackageError(UNREADABLE)
    return certificate


def certified(certificate: Mapping[str, Any], task: str, language: str, modality: str | None) -> Certified | None:
    """How often such answers were right, about this kind of image where enough were measured; raises PackageError."""
    try:
        accuracy = certificate.get("accuracy") or ()
        entries = {entry["modality"]: entry for entry in accuracy if (entry["task"], entry["language"]) == (task, language)}
        of_kind = entries.get(modality)
        entry = of_kind if of_kind and of_kind["n"] >= FEWEST else entries.get(None)
        return Certified(round(float(entry["accuracy"]["package"]), 4), int(entry["n"])) if entry else None
    except (KeyError, TypeError, ValueError, AttributeError):
        raise PackageError(UNREADABLE) from None


def lines(certificate: Mapping[str, Any], whole: bool = True) -> list[str]:
    """Lay a certificate out, or only its figures over all kinds of image; raises PackageError."""
    try:
        return list(_lines(certificate, whole))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        raise PackageError(UNREADABLE) from None


def _lines(certificate: Mapping[str, Any], whole: bool) -> Iterator[str]:
    if certificate["accuracy"] is None:
        yield f"accuracy beside full precision: not measured, {certificate['reason']}"
    else:
        items = certificate["items"]
        shown = [entry for entry in certificate["accuracy"] if whole or entry["modality"] is None]
        yield f"{items['count']} questions, full precision beside this package (items {items['sha256'][:_SHOWN]})"
        yield "IoU:"
        yield from _table([_row(entry, "mean_iou") for entry in shown if entry["mean_iou"]])
        yield "share of right answers:"
        yield from _table([_row(entry, "accuracy") for entry in shown])
        if whole:
            yield from _items(certificate)
    for override in certificate.get("recipe", {}).get("overrides", ()):
        yield f"more exact than the rest: {override['unit']}, {int(override['bits'])} bits"
    if not whole:
        return
    yield "error of each stage:"
    for name, entry in certificate["stages"].items():
        limit = "" if entry["limit"] is None else f"  (at most {entry['limit']:g})"
        yield f"  {name:<28}{entry['error']:.2g}{limit}"
    yield "hashes:"
    for owner, files in (certificate["packages"] | {"weights": certificate.get("weights", {})}).items():
        for name, digest in files.items():
            yield f"  {owner + ' ' + name:<28}{digest[:_SHOWN]}"
    if "code" in certificate:
        yield f"  {'code':<28}{certificate['code'][:_SHOWN]}"


def _row(entry: Mapping[str, Any], figure: str) -> tuple[str, ...]:
    values = entry[figure]
    low, high = values["interval"]
    return (
        entry["task"],
        entry["language"],
        entry["modality"] or "all",
        str(entry["n"]),
        f"{values['reference']:.3f}",
        f"{values['package']:.3f}",
        f"{values['loss']:+.3f} ({low:+.3f} to {high:+.3f})",
        f"{entry['flipped']:.1%}",
    )


def _table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[i]) for row in (_COLUMNS, *rows)) for i in range(len(_COLUMNS))]
    for row in (_COLUMNS, *rows):
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _items(certificate: Mapping[str, Any]) -> Iterator[str]:
    """Flips and worst items, which older certificates do not name."""
    if "flips" not in certificate:
        return
    wrong = sum(flip["to"] == "wrong" for flip in certificate["flips"])
    yield f"answers that flipped: {wrong} to wrong, {len(certificate['flips']) - wrong} to right"
    yield "worst items, each by the SHA-256 of its line in the file of questions:"
    for one in certificate["worst"]:
        full, package = one["score"]
        yield f"  {one['item'][:_SHOWN]}  {one['task']} {one['language']}  {full:.2f} -> {package:.2f}"
