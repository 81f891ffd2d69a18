"""The stages of an export: each writes one file of the package, once, and measures its error against torch."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from medrega_edge.i18n.message import Message
from medrega_edge.package.manifest import FILE_NAMES, MASK_HEAD_FILE, PREFILL_FILE, REGION_HEAD_FILE
from medrega_export.checkpoint.checkpoint import Checkpoint
from medrega_export.checkpoint.weights import StoredTensor
from medrega_export.graphs import decoder, mask_graph, numerical_error, prefill, text_model, vision
from medrega_export.graphs.graph import ACCURACY_LEVEL, EXACT_LEVEL
from medrega_export.graphs.stage_writer import OUTPUT
from medrega_export.quantisation import calibration, gptq
from medrega_export.quantisation.recipe import FULL, Recipe
from medrega_export.workspace import Workspace

LAYERS = "layers"  # in the work folder: quantised layers


@dataclass(frozen=True)
class Run:
    """What the stages share. `notify` takes the name of each stage when it begins."""

    checkpoint: Checkpoint
    material: calibration.CalibrationData
    shape: decoder.DecoderShape
    thresholds: numerical_error.Thresholds
    workspace: Workspace
    notify: Callable[[Message], None]


def assemble(run: Run, folder: Path, recipe: Recipe) -> dict[str, float]:
    """Write every file but certificate, card and manifest; returns the stages' errors, all within their limits."""
    checkpoint, write_once = run.checkpoint, run.workspace.write_once
    errors = _vision(run, folder / FILE_NAMES["vision"], recipe)
    if checkpoint.region_head:
        write_once(folder / REGION_HEAD_FILE, lambda path: vision.write_region_head(checkpoint, path))
    if checkpoint.mask_weights:
        _masks(run, folder)
    run.thresholds.check(errors)  # at once: the next stage may take hours
    write_decoder = _quantised_decoder if recipe.is_quantised else _full_decoder
    errors |= write_decoder(run, folder / FILE_NAMES["decoder"], recipe)
    if recipe.prefill_int8:
        errors |= _prefill(run, folder / PREFILL_FILE)
    number = np.float32 if recipe.is_full else np.float16
    table = checkpoint.weights["embed_tokens.weight"]
    write_once(folder / FILE_NAMES["embeddings"], lambda path: _write_table(table, path, number))
    errors["embeddings"] = _table_error(table, folder / FILE_NAMES["embeddings"])
    write_once(folder / FILE_NAMES["tokenizer"], lambda path: path.write_bytes(checkpoint.tokenizer_json))
    write_once(folder / FILE_NAMES["prompts"], lambda path: path.write_text(checkpoint.prompts.to_json(), encoding="utf-8"))
    run.thresholds.check(errors)
    return errors


def _write_table(table: StoredTensor, path: Path, number: npt.DTypeLike) -> None:
    """Write a table in numpy's own format, some rows at a time."""
    npy: Any = np.lib.format  # numpy has no types for it
    header = {"descr": npy.dtype_to_descr(np.dtype(number)), "fortran_order": False, "shape": table.shape}
    with path.open("wb") as file:
        npy.write_array_header_1_0(file, header)
        for rows in text_model.row_chunks(table):
            file.write(rows.numpy().astype(number).data)


def _table_error(table: StoredTensor, path: Path) -> float:
    """Relative Euclidean error of a table on disk."""
    stored, start, lost, length = np.load(path, mmap_mode="r"), 0, 0.0, 0.0
    for rows in text_model.row_chunks(table):
        truth = rows.numpy()
        lost += float(np.square(stored[start : start + len(truth)].astype(np.float32) - truth).sum(dtype=np.float64))
        length += float(np.square(truth).sum(dtype=np.float64))
        start += len(truth)
    return float(np.sqrt(lost / length))


def _vision(run: Run, path: Path, recipe: Recipe) -> dict[str, float]:
    run.notify(Message("export.writing_vision", precision=recipe.tower_name))
    checkpoint, material = run.checkpoint, run.material
    run.workspace.write_once(path, lambda part: vision.write(checkpoint, part, recipe, material.tower_pixels))
    seen = vision.run_outputs(path, material.pixels, mapped=recipe.is_full)
    error = vision.relative_error(np.stack(seen.pop(OUTPUT)), torch.stack(material.images))
    if checkpoint.efficientnet is None:
        return {f"vision_{recipe.tower}": error}
    if recipe.tower == "fp32":
        return {}  # that graph is the reference itself
    exact = vision.exact_outputs(checkpoint, material.pixels)
    errors = {f"tower_{recipe.tower}": error}
    if seen:
        maps = (vision.relative_error(np.stack(values), np.stack(exact[name])) for name, values in seen.items())
        errors[f"regions_{recipe.tower}"] = max(maps)
    return errors


def _masks(run: Run, folder: Path) -> None:
    """Write the graph of the mask head, the same in every package."""
    read = vision.reader(run.checkpoint.mask_weights)
    run.workspace.write_once(folder / MASK_HEAD_FILE, partial(mask_graph.write_mask_head, read))


def _prefill(run: Run, path: Path) -> dict[str, float]:
    """Write the graph for prefixes; its weights are rounded from full precision, not from the decoder's codes."""
    run.notify(Message("export.writing_prefill"))
    layers = text_model.plain_layers(run.checkpoint.weights, run.shape.layers)
    run.workspace.write_once(path, lambda part: prefill.write_prefill(run.shape, layers, part))
    samples = run.material.measured
    truth = text_model.last_values(run.checkpoint, samples)
    return {"prefill_int8": numerical_error.prefill_error(path, decoder.specification(run.shape), samples, truth)}


def _full_decoder(run: Run, path: Path, recipe: Recipe) -> dict[str, float]:
    weights, samples = run.checkpoint.weights, run.material.measured
    run.notify(Message("export.writing_decoder", precision=recipe.language_name))
    plain = text_model.plain_weights
    run.workspace.write_once(
        path, lambda part: decoder.write_decoder(run.shape, plain(weights, run.shape.layers, recipe.head), part)
    )
    truth = text_model.logits(
        run.checkpoint, samples, numerical_error.STEPS, lambda body, i: text_model.layer_state(weights, body, i)
    )
    given = numerical_error.graph_logits(path, decoder.specification(run.shape), samples, mapped=recipe.is_full)
    return {recipe.decoder_stage: numerical_error.logit_error(given, truth)}


def _quantised_decoder(run: Run, path: Path, recipe: Recipe) -> dict[str, float]:
    checkpoint, weights, samples = run.checkpoint, run.checkpoint.weights, run.material.measured
    run.notify(Message("export.quantising"))
    layers = gptq.quantise(checkpoint, run.material.samples, recipe, run.workspace.folder / LAYERS, run.notify)
    run.notify(Message("export.writing_decoder", precision=recipe.language_name))
    form, spec = layers.form, decoder.specification(run.shape)

    def write(part: Path, head: tuple[int, int], level: int) -> None:
        read = text_model.quantised_weights(layers.tensors, form, weights, run.shape.layers, head)
        decoder.write_decoder(run.shape, read, part, level)

    run.workspace.write_once(path, lambda part: write(part, recipe.head, ACCURACY_LEVEL))
    # Once more without any rounding beyond the codes: the error that is left is the writer's.
    exact = run.workspace.empty_folder("exact") / FILE_NAMES["decoder"]
    write(exact, FULL.head, EXACT_LEVEL)
    truth = text_model.logits(checkpoint, samples, numerical_error.STEPS, lambda _, i: layers.state(i))
    full = text_model.logits(
        checkpoint, samples, numerical_error.STEPS, lambda body, i: text_model.layer_state(weights, body, i)
    )
    errors = {
        "decoder_layout": numerical_error.logit_error(numerical_error.graph_logits(exact, spec, samples), truth),
        recipe.decoder_stage: numerical_error.logit_error(numerical_error.graph_logits(path, spec, samples), truth),
        "gptq": numerical_error.logit_error(truth, full),
    }
    shutil.rmtree(exact.parent)
    return errors
