"""A certificate as lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len

from medrega_edge.domain import Language
from medrega_edge.i18n.message import Message
from medrega_edge.package.certificate import Certificate, Difference, Entry

_DIGITS = 12  # of a hash
_COLUMNS = (
    Message("output.column_task"),
    Message("output.column_language"),
    Message("output.column_modality"),
    Message("output.column_count"),
    Message("output.column_full"),
    Message("output.column_package"),
    Message("output.column_loss"),
    Message("output.column_flipped"),
)


def certificate_lines(certificate: Certificate, language: Language, whole: bool = True) -> Iterator[str]:
    """Yield the lines of a certificate, or only of its figures over all modalities."""
    if certificate.accuracy is None:
        yield Message("output.certificate_unmeasured", reason=certificate.reason or "").text(language)
    else:
        entries = [entry for entry in certificate.accuracy if whole or entry.modality is None]
        if certificate.items is not None:
            digest = (certificate.items.sha256 or "")[:_DIGITS]
            yield Message("output.certificate_items", count=certificate.items.count, sha256=digest).text(language)
        yield Message("output.certificate_iou").text(language)
        yield from _table([_row(entry, entry.mean_iou, language) for entry in entries if entry.mean_iou], language)
        yield Message("output.certificate_accuracy").text(language)
        yield from _table([_row(entry, entry.accuracy, language) for entry in entries if entry.accuracy], language)
        if whole:
            yield from _items(certificate, language)
    for override in certificate.recipe.overrides:
        yield Message("output.certificate_override", unit=override.unit, bits=override.bits).text(language)
    if whole:
        yield from _origin(certificate, language)


def _row(entry: Entry, figure: Difference, language: Language) -> tuple[str, ...]:
    low, high = figure.interval
    interval = Message("output.certificate_loss", loss=figure.loss, low=low, high=high).text(language)
    return (
        entry.task,
        entry.language,
        entry.modality or Message("output.all_modalities").text(language),
        str(entry.n),
        f"{figure.reference:.3f}",
        f"{figure.package:.3f}",
        interval,
        "-" if entry.flipped is None else f"{entry.flipped:.1%}",
    )


def _table(rows: Sequence[tuple[str, ...]], language: Language) -> Iterator[str]:
    lines = (tuple(column.text(language) for column in _COLUMNS), *rows)
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True))
        yield "  " + "  ".join(cells).rstrip()


def _items(certificate: Certificate, language: Language) -> Iterator[str]:
    """Flips and the items that lost most, which older certificates do not name."""
    if certificate.flips is None:
        return
    wrong = sum(flip.to == "wrong" for flip in certificate.flips)
    right = len(certificate.flips) - wrong
    yield Message("output.certificate_flips", wrong=wrong, right=right).text(language)
    yield Message("output.certificate_worst").text(language)
    for item in certificate.worst:
        full, package = item.score
        yield f"  {item.item[:_DIGITS]}  {item.task} {item.language}  {full:.2f} -> {package:.2f}"


def _origin(certificate: Certificate, language: Language) -> Iterator[str]:
    """The errors of the stages, and the hashes of everything that the package was made from."""
    yield Message("output.certificate_stages").text(language)
    for name, stage in certificate.stages.items():
        limit = "" if stage.limit is None else Message("output.certificate_limit", limit=stage.limit).text(language)
        yield f"  {name:<28}{stage.error:.2g}{limit}"
    yield Message("output.certificate_hashes").text(language)
    for owner, files in {**(certificate.packages or {}), "weights": certificate.weights or {}}.items():
        for name, digest in files.items():
            yield f"  {owner + ' ' + name:<28}{digest[:_DIGITS]}"
    if certificate.code is not None:
        yield f"  {'code':<28}{certificate.code[:_DIGITS]}"
