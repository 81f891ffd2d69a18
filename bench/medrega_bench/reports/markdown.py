"""What tables of a document are made of: a figure in per cent, and with what it was measured. Knows results."""

from __future__ import annotations

from typing import Any


def percent(figure: dict[str, Any] | None, with_interval: bool = True) -> str:
    """A figure in per cent, with its 95 % interval; nothing where there is none."""
    if figure is None or figure["value"] is None:
        return ""
    text = f"{100 * figure['value']:.1f}"
    if with_interval and figure["interval"]:
        low, high = figure["interval"]
        text += f" ({100 * low:.1f} to {100 * high:.1f})"
    return text


def signed(value: float, interval: tuple[float, float]) -> str:
    """A difference in points of per cent with its 95 % interval."""
    low, high = interval
    return f"{100 * value:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def measured_with(result: dict[str, Any]) -> str:
    """Say when, how and on what a result was measured."""
    machine = result["environment"]
    model = result["model"]
    return (
        f"Measured {result['date']} with `{result['command']}` on {machine['processor']}, {machine['threads']} threads, "
        f"onnxruntime {machine['versions']['onnxruntime']}; package {model['name']} {model['version']} "
        f"({model['precision']}), manifest {model['sha256'][:12]}; {result['split']} split."
    )
