"""Writes a package's decoder as onnxruntime-genai reads it: the same nodes and weights, but token ids as input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from medrega_edge.package.package import Package

END_TOKEN = 0  # any id: the measurement asks for a number of tokens


def write_genai(package: Package, folder: Path, threads: int) -> None:
    """Write `model.onnx` and `genai_config.json` into a new folder."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    spec = package.manifest.decoder
    folder.mkdir()
    model = onnx.load(str(package.path("decoder")))
    graph = model.graph
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.load(package.path("embeddings")), "genai.embeddings"),
            numpy_helper.from_array(np.array([1], np.int64), "genai.axis"),
            numpy_helper.from_array(np.array(1, np.int32), "genai.one"),
            numpy_helper.from_array(np.array(1, np.int64), "genai.second"),
        ]
    )
    before = [
        helper.make_node("Gather", ["genai.embeddings", "input_ids"], ["genai.half"]),
        helper.make_node("Cast", ["genai.half"], [spec.embeds], to=TensorProto.FLOAT),
        helper.make_node("Shape", ["attention_mask"], ["genai.sizes"]),
        helper.make_node("Gather", ["genai.sizes", "genai.second"], ["genai.length"]),
        helper.make_node("Cast", ["genai.length"], [spec.total_length], to=TensorProto.INT32),
        helper.make_node("Sub", [spec.total_length, "genai.one"], ["genai.last"]),
        helper.make_node("Reshape", ["genai.last", "genai.axis"], [spec.last_position]),
    ]
    nodes = [*before, *graph.node]
    for node in nodes:  # one sequence, its last position: [1, vocabulary] becomes [1, 1, vocabulary]
        node.output[:] = ["genai.flat" if name == spec.logits else name for name in node.output]
    nodes.append(helper.make_node("Unsqueeze", ["genai.flat", "genai.axis"], [spec.logits]))
    if spec.wanted_positions:
        graph.initializer.append(numpy_helper.from_array(np.array([-1], np.int64), spec.wanted_positions))
    own = (spec.embeds, spec.last_position, spec.total_length, spec.wanted_positions)
    caches = [value for value in graph.input if value.name not in own]
    inputs = [
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, [1, "length"]),
        helper.make_tensor_value_info("attention_mask", TensorProto.INT64, [1, "total"]),
    ]
    outputs = [value for value in graph.output if value.name != spec.logits]
    outputs.insert(0, helper.make_tensor_value_info(spec.logits, TensorProto.FLOAT, [1, 1, spec.vocabulary]))
    for field, values in ((graph.node, nodes), (graph.input, [*inputs, *caches]), (graph.output, outputs)):
        del field[:]
        field.extend(values)
    onnx.save_model(model, str(folder / "model.onnx"), save_as_external_data=True, location="model.onnx.data")
    (folder / "genai_config.json").write_text(json.dumps(_config(package, threads)), encoding="utf-8")


def _config(package: Package, threads: int) -> dict[str, object]:
    spec = package.manifest.decoder
    names = {
        name: getattr(spec, name).replace("{}", "%d") for name in ("past_key", "past_value", "present_key", "present_value")
    }
    decoder = {
        "session_options": {"intra_op_num_threads": threads, "log_id": "genai", "provider_options": []},
        "filename": "model.onnx",
        "head_size": spec.head_dim,
        "hidden_size": spec.hidden,
        "num_attention_heads": spec.heads,
        "num_hidden_layers": spec.layers,
        "num_key_value_heads": spec.kv_heads,
        "inputs": {
            "input_ids": "input_ids",
            "attention_mask": "attention_mask",
            "past_key_names": names["past_key"],
            "past_value_names": names["past_value"],
        },
        "outputs": {
            "logits": spec.logits,
            "present_key_names": names["present_key"],
            "present_value_names": names["present_value"],
        },
    }
    return {
        "model": {
            "type": "qwen2",
            "bos_token_id": END_TOKEN,
            "eos_token_id": END_TOKEN,
            "pad_token_id": END_TOKEN,
            "vocab_size": spec.vocabulary,
            "context_length": spec.context,
            "decoder": decoder,
        },
        "search": {"past_present_share_buffer": True, "max_length": spec.context, "do_sample": False},
    }
