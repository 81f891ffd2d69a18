"""Where a graph's time goes, from onnxruntime's own profile: by operator, and by what operators are for.

Knows sessions and operators; knows no image and no text.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medrega_edge.inference.devices import decoder_threads, load_onnxruntime
from medrega_edge.package.package import Package

Row = dict[str, Any]
# Which operators do what; whatever is named nowhere is "rest".
GROUPS = {
    "attention": ("MultiHeadAttention", "GroupQueryAttention", "Attention", "Softmax"),
    "products": ("MatMul", "FusedMatMul", "Gemm", "FusedGemm", "MatMulInteger", "MatMulIntegerToFloat", "MatMulNBits",
                 "DynamicQuantizeMatMul", "Conv"),
    "rounding of activations": ("DynamicQuantizeLinear", "QuantizeLinear", "DequantizeLinear"),
}  # fmt: skip


def open_session(path: Path, threads: int, profile: Path | None = None) -> Any:
    """Open a graph on the processor; with `profile`, note every operator's time in a file of that name's beginning."""
    ort = load_onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def finish(session: Any, runs: int) -> list[Counter[str]]:
    """End a profile of so many runs; microseconds by operator, run by run."""
    path = Path(session.end_profiling())
    events = json.loads(path.read_text(encoding="utf-8"))
    path.unlink()
    kernels = [one for one in events if one.get("cat") == "Node" and one["name"].endswith("_kernel_time")]
    each = len(kernels) // runs  # a graph without branches: every run has the same operators
    times: list[Counter[str]] = []
    for number in range(runs):
        counted: Counter[str] = Counter()
        for one in kernels[number * each : (number + 1) * each]:
            counted[one["args"]["op_name"]] += one["dur"]
        times.append(counted)
    return times


def shares(times: Sequence[Counter[str]]) -> Row:
    """Runs of microseconds by operator -> milliseconds of a run, and shares by group and by operator."""
    together = sum(times, Counter[str]())
    whole = sum(together.values())
    group_of = {operator: group for group, operators in GROUPS.items() for operator in operators}
    groups: Counter[str] = Counter()
    for operator, microseconds in together.items():
        groups[group_of.get(operator, "rest")] += microseconds
    return {
        "milliseconds": whole / len(times) / 1000,
        "groups": {name: groups[name] / whole for name in (*GROUPS, "rest")},
        "operators": {name: microseconds / whole for name, microseconds in together.most_common()},
    }


def decoder(package: Package, threads: int, prompt: int, tokens: int, folder: Path) -> Row:
    """Profile the language model: a prompt of so many random embeddings, then so many single ones."""
    spec, ort = package.manifest.decoder, load_onnxruntime()
    taken = decoder_threads(package.manifest, threads)
    session = open_session(package.path("decoder"), taken, folder / "profile")
    binding = session.io_binding()
    cache = [np.zeros((1, spec.kv_heads, spec.context, spec.head_dim), np.float32) for _ in range(2 * spec.layers)]
    values = [ort.OrtValue.ortvalue_from_numpy(array) for array in cache]
    for layer in range(spec.layers):
        names = ((spec.past_key, spec.present_key), (spec.past_value, spec.present_value))
        for (past, present), value in zip(names, values[2 * layer :], strict=False):
            binding.bind_ortvalue_input(past.format(layer), value)
            binding.bind_ortvalue_output(present.format(layer), value)
    binding.bind_output(spec.logits)
    generator, total = np.random.default_rng(0), 0
    for length in (prompt, prompt, *[1] * tokens):  # the first warms up
        total = length if length == prompt else total + length
        embeds = generator.standard_normal((1, length, spec.hidden), np.float32)
        binding.bind_cpu_input(spec.embeds, embeds)
        binding.bind_cpu_input(spec.last_position, np.array([total - 1], np.int32))
        binding.bind_cpu_input(spec.total_length, np.array(total, np.int32))
        session.run_with_iobinding(binding)
    times = finish(session, 2 + tokens)
    return {"prefill": shares(times[1:2]), "decode": shares(times[2:])}
