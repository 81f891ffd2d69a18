"""Where a graph's time goes, from onnxruntime's own profile: by operator, and by groups of operators."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medrega_edge.inference.devices import decoder_threads, load_onnxruntime
from medrega_edge.package.package import Package

# Operators that are in no group count as "rest".
GROUPS = {
    "attention": ("MultiHeadAttention", "GroupQueryAttention", "Attention", "Softmax"),
    "products": ("MatMul", "FusedMatMul", "Gemm", "FusedGemm", "MatMulInteger", "MatMulIntegerToFloat", "MatMulNBits",
                 "DynamicQuantizeMatMul", "Conv"),
    "rounding of activations": ("DynamicQuantizeLinear", "QuantizeLinear", "DequantizeLinear"),
}  # fmt: skip


@dataclass(frozen=True)
class Profile:
    """Milliseconds of a run, and the shares of it that groups of operators take, and single operators."""

    milliseconds: float
    groups: Mapping[str, float]
    operators: Mapping[str, float]


@dataclass(frozen=True)
class DecoderProfile:
    """Profiles of a prompt and of single tokens."""

    prefill: Profile
    decode: Profile


def open_session(path: Path, threads: int, profile: Path | None = None) -> Any:
    """Open a graph on the processor; with `profile`, record operator times in a file whose name begins with it."""
    ort = load_onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def finish(session: Any, runs: int) -> list[Counter[str]]:
    """End the profile of so many runs; return the microseconds of each operator, run by run."""
    path = Path(session.end_profiling())
    events = json.loads(path.read_text(encoding="utf-8"))
    path.unlink()
    kernels = [event for event in events if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")]
    per_run = len(kernels) // runs  # a graph without branches: every run has the same operators
    times: list[Counter[str]] = []
    for number in range(runs):
        microseconds: Counter[str] = Counter()
        for event in kernels[number * per_run : (number + 1) * per_run]:
            microseconds[event["args"]["op_name"]] += event["dur"]
        times.append(microseconds)
    return times


def summarise(times: Sequence[Counter[str]]) -> Profile:
    """Turn microseconds by operator, run by run, into the mean time of a run and its shares."""
    by_operator = sum(times, Counter[str]())
    total = sum(by_operator.values())
    group_of = {operator: group for group, operators in GROUPS.items() for operator in operators}
    by_group: Counter[str] = Counter()
    for operator, microseconds in by_operator.items():
        by_group[group_of.get(operator, "rest")] += microseconds
    return Profile(
        milliseconds=total / len(times) / 1000,
        groups={name: by_group[name] / total for name in (*GROUPS, "rest")},
        operators={name: microseconds / total for name, microseconds in by_operator.most_common()},
    )


def profile_decoder(package: Package, threads: int, prompt: int, tokens: int, folder: Path) -> DecoderProfile:
    """Profile the language model on a prompt of so many random embeddings, then on so many single ones."""
    spec, ort = package.manifest.decoder, load_onnxruntime()
    session = open_session(package.path("decoder"), decoder_threads(package.manifest, threads), folder / "profile")
    binding = session.io_binding()
    cache = [np.zeros((1, spec.kv_heads, spec.context, spec.head_dim), np.float32) for _ in range(2 * spec.layers)]
    values = [ort.OrtValue.ortvalue_from_numpy(array) for array in cache]
    for layer in range(spec.layers):
        names = ((spec.past_key, spec.present_key), (spec.past_value, spec.present_value))
        for (past, present), value in zip(names, values[2 * layer :], strict=False):
            binding.bind_ortvalue_input(past.format(layer), value)
            binding.bind_ortvalue_output(present.format(layer), value)
    if spec.wanted_positions:
        binding.bind_cpu_input(spec.wanted_positions, np.array([-1], np.int64))
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
    return DecoderProfile(summarise(times[1:2]), summarise(times[2:]))
