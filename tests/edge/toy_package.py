"""A model package whose region head is known: it finds what is red, green or blue.

The liver is what is red, the spleen what is green; glands are the blue squares, each a box of its own; the polyp is absent.
A report names the liver, then the spleen. The decoder's hidden state is the mean of all embeddings before it, so the
head knows what was asked for only if its query is taken at the right place. The tokenizer is the default package's. A mask
head, if asked for, finds what is not black, whatever the box. A graph for prefixes, if asked for, fills the same cache.
"""

import dataclasses
import json
import shutil

import numpy as np

from medrega_edge.inference.tokenizer import Tokenizer
from medrega_edge.package.manifest import (
    MANIFEST,
    MASK_HEAD,
    MASK_HEAD_FILE,
    PREFILL,
    PREFILL_FILE,
    REGION_HEAD,
    REGION_HEAD_FILE,
    REGION_SCHEMA_VERSION,
    ROLES,
    SCHEMA_VERSION,
    DecoderSpec,
    MaskSpec,
    RegionSpec,
    VisionSpec,
    file_entry,
)
from medrega_edge.package.registry import find_package
from medrega_edge.prompts.templates import TEMPLATES
from tests.edge.onnx_bytes import graph, node, value

SIDE, BINS = 48, 12  # a place is 4 x 4 pixels of the square
HIDDEN, CONTEXT = 64, 2048
NAMES = {"liver": "肝脏", "spleen": "脾脏", "gland": "腺体", "polyp": "息肉"}
COLOURS = {"liver": 0, "spleen": 1, "gland": 2}
REGIONS = RegionSpec(
    places="region_places",
    fine="region_fine",
    tokens="region_tokens",
    query="query",
    edges="edges",
    presence="presence",
    centres="centres",
    distances="distances",
    bins=BINS,
    several=0.5,
    overlap=0.5,
)

MASKS = MaskSpec("pixel_values", "mask_logits", SIDE, SIDE, 0.25)


def _array(values):
    return np.asarray(values, np.float32)


def _axes(*numbers):
    return np.asarray(numbers, np.int64)


def vision(with_head=True):
    """Colours in 0..1 at each place, which a head reads; the embeddings are zeros."""
    as_token = _array(np.eye(3, HIDDEN))  # a box in a question adds its mean colour
    constants = {
        "nothing": _array(np.zeros((3, HIDDEN))),
        "as_token": as_token,
        "row": _axes(1, 1, 3),
        "list": _axes(1, 3, BINS * BINS),
    }
    nodes = [
        node("Relu", "pixel_values", "bright"),
        node("AveragePool", "bright", "region_fine", kernel_shape=[4, 4], strides=[4, 4]),
        node("Reshape", "region_fine list", "listed"),
        node("Transpose", "listed", "region_places", perm=[0, 2, 1]),
        node("MatMul", "region_places as_token", "region_tokens"),
        node("GlobalAveragePool", "region_fine", "mean"),
        node("Reshape", "mean row", "mean_row"),
        node("MatMul", "mean_row nothing", "image_embeds"),
    ]
    outputs = [value("image_embeds", "batch", 1, HIDDEN)]
    if not with_head:
        return graph(nodes, constants, [value("pixel_values", "batch", 3, SIDE, SIDE)], outputs)
    outputs += [value("region_places", "batch", BINS * BINS, 3), value("region_fine", "batch", 3, BINS, BINS)]
    outputs += [value("region_tokens", "batch", BINS * BINS, HIDDEN)]
    return graph(nodes, constants, [value("pixel_values", "batch", 3, SIDE, SIDE)], outputs)


def prefill(context):
    """The cache that the decoder would have filled."""
    nodes, (inputs, outputs) = _attention(), _borders(context)
    return graph(nodes, {"nothing": _array(0.0)}, inputs, outputs)


def _attention():
    attention = "no_query inputs_embeds inputs_embeds past.0.key past.0.value last_position total_length"
    return [
        node("Mul", "inputs_embeds nothing", "no_query"),
        node("GroupQueryAttention", attention, "means present.0.key present.0.value", "com.microsoft", num_heads=1,
             kv_num_heads=1),
    ]  # fmt: skip


def _borders(context):
    cache = (1, 1, context, HIDDEN)
    inputs = [value("inputs_embeds", 1, "length", HIDDEN), value("last_position", 1, dtype="int32")]
    inputs += [value("total_length", dtype="int32"), value("past.0.key", *cache), value("past.0.value", *cache)]
    return inputs, [value("present.0.key", *cache), value("present.0.value", *cache)]


def decoder(by_last, by_mean, context, with_head=True):
    """Logits from the last embedding and from the mean of all; the latter is the hidden state, an output for a head."""
    constants = {"by_last": by_last, "by_mean": by_mean, "nothing": _array(0.0), "at_end": np.asarray(-1, np.int64)}
    nodes = [
        *_attention(),
        node("Gather", "means at_end", "hidden_state", axis=1),
        node("Gather", "inputs_embeds at_end", "last", axis=1),
        node("MatMul", "last by_last", "first_logits"),
        node("MatMul", "hidden_state by_mean", "more_logits"),
        node("Add", "first_logits more_logits", "logits"),
    ]
    inputs, cache = _borders(context)
    outputs = [value("logits", 1, by_last.shape[1]), *([value("hidden_state", 1, HIDDEN)] if with_head else [])]
    return graph(nodes, constants, inputs, outputs + cache)


def head(colours, bins=BINS, hidden=HIDDEN, query="query", channels=3):
    """Edges where the colour of the query begins and ends; centres where it is blue, boxes as large as a place there."""
    rise = _array((np.eye(bins, k=-1) - np.eye(bins, k=1)) / 2)
    constants = {
        "colours": colours, "rise": rise, "fall": -rise, "blue": _array(np.eye(channels)[:, 2:3]), "one": _axes(1, 1, 1, 1),
        "flat": _axes(1, channels, bins * bins), "square": _axes(1, 1, bins, bins), "last_axis": _axes(2),
        "axis_1": _axes(1), "axis_2": _axes(2), "axis_3": _axes(3), "axes_23": _axes(2, 3), "zero": _array(0.0),
        "little": _array(1e-6), "half": _array(np.full((1, 1, 4, 1, 1), 0.5 / bins)),
    }  # fmt: skip
    nodes = [
        node("MatMul", f"{query} colours", "scores"),
        node("Softmax", "scores", "colour", axis=-1),
        node("Reshape", "region_fine flat", "flat_map"),
        node("MatMul", "colour flat_map", "seen_row"),
        node("Reshape", "seen_row square", "seen"),
        node("ReduceMax", "seen axis_2", "columns", keepdims=0),
        node("ReduceMax", "seen axis_3", "rows", keepdims=0),
        node("ReduceMax", "seen axes_23", "presence", keepdims=0),
    ]
    ways = {"x1": "columns rise", "y1": "rows rise", "x2": "columns fall", "y2": "rows fall"}
    for edge, way in ways.items():
        nodes += [
            node("MatMul", way, f"{edge}_steps"),
            node("Relu", f"{edge}_steps", f"{edge}_masses"),
            node("Add", f"{edge}_masses little", f"{edge}_more"),
            node("ReduceSum", f"{edge}_more last_axis", f"{edge}_sum", keepdims=1),
            node("Div", f"{edge}_more {edge}_sum", edge),
        ]
    nodes += [
        node("Concat", "x1 y1 x2 y2", "edge_list", axis=1),
        node("Unsqueeze", "edge_list axis_1", "edges"),
        node("MatMul", "colour blue", "is_blue"),
        node("Reshape", "is_blue one", "is_blue_map"),
        node("Mul", "seen is_blue_map", "centres"),
        node("Unsqueeze", "centres axis_2", "centre_list"),
        node("Mul", "centre_list zero", "nothing"),
        node("Add", "nothing half", "distances"),
    ]
    inputs = [value(query, 1, "queries", hidden), value("region_places", 1, bins * bins, 3)]
    inputs.append(value("region_fine", 1, channels, bins, bins))
    outputs = [value("edges", 1, "queries", 4, bins), value("presence", 1, "queries")]
    outputs += [value("centres", 1, "queries", bins, bins), value("distances", 1, "queries", 4, bins, bins)]
    return graph(nodes, constants, inputs, outputs)


def mask_head():
    """Inside is what is not black, for sure."""
    constants = {"channel": _axes(1), "half": _array(-0.5), "sure": _array(100.0)}
    nodes = [
        node("ReduceMax", "pixel_values channel", "bright", keepdims=0),
        node("Add", "bright half", "signed"),
        node("Mul", "signed sure", "mask_logits"),
    ]
    inputs, outputs = [value("pixel_values", "batch", 3, SIDE, SIDE)], [value("mask_logits", "batch", SIDE, SIDE)]
    return graph(nodes, constants, inputs, outputs)


def _weights(shipped):
    """Embeddings and the three matrices that make the package answer as described above."""
    tokenizer = Tokenizer(shipped.text("tokenizer"))
    size, end = shipped.manifest.decoder.vocabulary, shipped.manifest.tokens.end[0]
    follow = tokenizer.encode_continuation
    inside = {name: follow(name, "<ref>") for name in NAMES}
    asked = {name: follow(f" {name}", "locate the") for name in NAMES}
    absent = follow("There", "\n")[0]
    opening, ref_open, ref_close, box_close, comma = (
        tokenizer.encode(text)[0] for text in ("\n", "<ref>", "</ref>", "</box>", ",")
    )
    named = [token for name in NAMES for token in (*inside[name], *asked[name])]
    dims = {t: i for i, t in enumerate(dict.fromkeys([opening, ref_open, ref_close, box_close, comma, *named]))}
    embeddings = np.zeros((size, HIDDEN), np.float32)
    for token, dim in dims.items():
        embeddings[token, dim] = 1
    by_last, by_mean = np.zeros((2, HIDDEN, size), np.float32)
    colours = np.zeros((HIDDEN, 3), np.float32)
    by_last[dims[opening], [ref_open, absent]] = 50, 40
    by_last[dims[ref_open], [inside["liver"][0], inside["spleen"][0]]] = 50, 49.9
    by_last[dims[comma], ref_open] = 50
    by_last[dims[box_close], [comma, end]] = 50, 49.9
    for name, tokens in inside.items():
        for token, following in zip(tokens, [*tokens[1:], ref_close], strict=True):
            by_last[dims[token], following] = 50
        if name in COLOURS:
            for token in {tokens[0], asked[name][0]}:
                colours[dims[token], COLOURS[name]] = 1e5 if name == "spleen" else 1e4  # the spleen is named last
    by_mean[dims[asked["polyp"][-1]], absent] = 2000
    by_mean[dims[inside["liver"][0]], inside["spleen"][0]] = 100
    by_mean[dims[inside["spleen"][0]], end] = 100
    return embeddings, by_last, by_mean, colours


def build(
    folder,
    tasks=("detect", "grounded_report"),
    fit="pad",
    context=CONTEXT,
    head_graph=head,
    vision_graph=vision,
    with_head=True,
    masks=None,
    mask_graph=mask_head,
    prefill_graph=None,
    **regions,
):
    """Write the package into a new folder. `regions` change numbers and names of its RegionSpec.

    `masks` is the MaskSpec of a package with a mask head, `prefill_graph` makes the graph for prefixes of one that has it.
    """
    shipped = find_package()
    folder.mkdir()
    embeddings, by_last, by_mean, colours = _weights(shipped)
    templates = {task: TEMPLATES.get(task, TEMPLATES["report"]) for task in tasks}
    prompts = {"prefix": "{image}\n", "templates": templates, "labels": list(NAMES.items())}
    written = {
        "vision": vision_graph() if with_head else vision_graph(with_head=False),
        "decoder": decoder(by_last, by_mean, context, with_head),
        "prompts": json.dumps(prompts).encode(),
    }
    names = {role: shipped.manifest.files[role].path for role in ROLES}
    if with_head:
        written[REGION_HEAD], names[REGION_HEAD] = head_graph(colours), REGION_HEAD_FILE
    if masks:
        written[MASK_HEAD], names[MASK_HEAD] = mask_graph(), MASK_HEAD_FILE
    if prefill_graph:
        written[PREFILL], names[PREFILL] = prefill_graph(context), PREFILL_FILE
    for role, name in names.items():
        if role == "embeddings":
            np.save(folder / name, embeddings)
        elif role in written:
            (folder / name).write_bytes(written[role])
        else:
            shutil.copy(shipped.path(role), folder / name)
    old = shipped.manifest.decoder
    manifest = dataclasses.replace(
        shipped.manifest,
        familiarity=None,
        schema_version=REGION_SCHEMA_VERSION if with_head else SCHEMA_VERSION,
        name="toy",
        files={role: file_entry(folder / name, "toy") for role, name in names.items()},
        vision=VisionSpec("pixel_values", "image_embeds", SIDE, (127 / 255,) * 3, (128 / 255,) * 3, 1, fit),
        decoder=DecoderSpec(
            old.embeds, old.last_position, old.total_length, old.past_key, old.past_value, old.present_key,
            old.present_value, old.logits, 1, 1, 1, HIDDEN, HIDDEN, old.vocabulary, context,
            "hidden_state" if with_head else "",
        ),
        tasks=tuple(tasks),
        calibration=(),
        regions=dataclasses.replace(REGIONS, **regions) if with_head else None,
        masks=masks,
    )  # fmt: skip
    (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return folder


def picture(width, height, **boxes):
    """A black RGB image with a coloured rectangle at each x1, y1, x2, y2: `liver=(..)`, `gland=[(..), (..)]`."""
    pixels = np.zeros((height, width, 3), np.uint8)
    for name, given in boxes.items():
        for x1, y1, x2, y2 in given if isinstance(given, list) else [given]:
            pixels[y1:y2, x1:x2, COLOURS[name]] = 255
    return pixels
