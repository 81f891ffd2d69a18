"""Runs one program for `peer_comparison`, inside the program's own environment: `python -P peer_worker.py ORDER`.

ORDER is JSON with the shape, the files and the numbers of tokens. Each program is a function that loads a model of the
shape and returns a function that runs one turn. Only `medrega` imports this project. Standard output is lines of JSON: first
what was loaded; then for each line of standard input the seconds of one turn, a prompt of random tokens and then single
tokens. Loading and one turn to warm up are not timed. Every program runs in the way that is fastest for it, and picks the
likeliest token if its interface allows that.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

Order = dict[str, Any]  # shape, head_bits, package, genai, gguf, threads
Turn = Callable[[list[int], list[int]], tuple[float, float]]  # prompt, further tokens -> seconds of each

CONTEXT = 2048
UBATCH = 512


def medrega(order: Order) -> Turn:
    """Our own decoder, as the runtime drives it."""
    import numpy as np

    from medrega_edge.inference.decoder import Decoder
    from medrega_edge.inference.devices import decoder_threads
    from medrega_edge.package.package import Package

    package = Package.open(order["package"])
    decoder = Decoder(package.read_all(), decoder_threads(package.manifest, order["threads"]), "cpu")
    table = np.load(package.path("embeddings"), mmap_mode="r")

    def run(prompt: list[int], more: list[int]) -> tuple[float, float]:
        decoder.rewind(0)
        return _timed(lambda tokens: decoder.extend(table[tokens].astype(np.float32)), prompt, more)

    return run


def onnxruntime_genai(order: Order) -> Turn:
    """The same graph, driven by onnxruntime's own generator, which picks the likeliest token."""
    import onnxruntime_genai as og

    model = og.Model(order["genai"])

    def run(prompt: list[int], more: list[int]) -> tuple[float, float]:
        parameters = og.GeneratorParams(model)
        length = len(prompt) + len(more) + 1
        parameters.set_search_options(max_length=CONTEXT, min_length=length, do_sample=False)
        generator = og.Generator(model, parameters)
        begun = time.perf_counter()
        generator.append_tokens(prompt)
        prefilled = time.perf_counter()
        for _ in more:
            generator.generate_next_token()
        # The generator has picked the last token without a pass for it; this is that pass.
        generator.get_logits()
        return prefilled - begun, time.perf_counter() - prefilled

    return run


def llama_cpp(order: Order) -> Turn:
    """llama.cpp through its C interface, without the copies of its Python classes."""
    import ctypes

    import llama_cpp as ll

    ll.llama_log_set(ll.llama_log_callback(_silent), ctypes.c_void_p())
    ll.llama_backend_init()
    model = ll.llama_model_load_from_file(order["gguf"].encode(), ll.llama_model_default_params())
    if not model:
        raise RuntimeError("llama.cpp could not load the model")
    parameters = ll.llama_context_default_params()
    parameters.n_ctx, parameters.n_batch, parameters.n_ubatch = CONTEXT, UBATCH, UBATCH
    parameters.n_threads = parameters.n_threads_batch = order["threads"]
    context = ll.llama_init_from_model(model, parameters)

    def feed(tokens: list[int]) -> None:
        array = (ll.llama_token * len(tokens))(*tokens)
        if ll.llama_decode(context, ll.llama_batch_get_one(array, len(tokens))):
            raise RuntimeError("llama.cpp could not decode")
        ll.llama_get_logits_ith(context, -1)

    def run(prompt: list[int], more: list[int]) -> tuple[float, float]:
        ll.llama_memory_clear(ll.llama_get_memory(context), True)
        return _timed(feed, prompt, more)

    return run


def openvino(order: Order) -> Turn:
    """OpenVINO on the file that llama.cpp reads, with a stateful cache as in its own pipelines."""
    import numpy as np
    import openvino_genai
    from openvino import Core, opset13

    path = Path(order["gguf"])
    graph = path.with_name("openvino_model.xml")
    if not graph.exists():
        # The pipeline saves the model and then fails to compile it (2026.4); the saved file compiles.
        with contextlib.suppress(RuntimeError):
            openvino_genai.LLMPipeline(str(path), "CPU", enable_save_ov_model=True)
    core = Core()
    model = core.read_model(graph)
    head = model.output("logits").get_node().input_value(0).get_node()
    if head.get_type_name() != "MatMul":
        raise RuntimeError("the output head is not where it was expected")
    # The head sees the last position only, as in its own pipelines.
    last = opset13.slice(head.input_value(0), np.array([-1]), np.array([2**31 - 1]), np.array([1]), np.array([1]))
    head.input(0).replace_source_output(last.output(0))
    model.validate_nodes_and_infer_types()
    options = {"INFERENCE_NUM_THREADS": order["threads"], "PERFORMANCE_HINT": "LATENCY"}
    request = core.compile_model(model, "CPU", options).create_infer_request()
    beam = np.zeros(1, np.int32)

    def feed(tokens: list[int], before: int) -> None:
        total = before + len(tokens)
        request.infer(
            {
                "input_ids": np.array([tokens], np.int64),
                "attention_mask": np.ones((1, total), np.int64),
                "position_ids": np.arange(before, total)[None],
                "beam_idx": beam,
            }
        )

    def run(prompt: list[int], more: list[int]) -> tuple[float, float]:
        request.reset_state()
        begun = time.perf_counter()
        feed(prompt, 0)
        prefilled = time.perf_counter()
        for number, token in enumerate(more):
            feed([token], len(prompt) + number)
        return prefilled - begun, time.perf_counter() - prefilled

    return run


def torch_fp32(order: Order) -> Turn:
    """Transformers in full precision."""
    return _torch(order, "float32")


def torch_bf16(order: Order) -> Turn:
    """Transformers in the half precision that newer processors multiply in."""
    return _torch(order, "bfloat16")


def _torch(order: Order, precision: str) -> Turn:
    import torch
    from transformers import DynamicCache, Qwen2Config, Qwen2ForCausalLM

    shape = order["shape"]
    torch.set_num_threads(order["threads"])
    torch.set_default_dtype(getattr(torch, precision))
    config = Qwen2Config(
        vocab_size=shape["vocabulary"],
        hidden_size=shape["hidden"],
        intermediate_size=shape["mlp"],
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"],
        num_key_value_heads=shape["kv_heads"],
        head_dim=shape["head_dim"],
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
    )
    model = Qwen2ForCausalLM(config).eval()

    def run(prompt: list[int], more: list[int]) -> tuple[float, float]:
        cache = DynamicCache(config=config)

        def feed(tokens: list[int]) -> None:
            model(torch.tensor([tokens]), past_key_values=cache, use_cache=True, logits_to_keep=1)

        with torch.inference_mode():
            return _timed(feed, prompt, more)

    return run


def _timed(feed: Callable[[list[int]], object], prompt: list[int], more: list[int]) -> tuple[float, float]:
    """Return the seconds of the prompt, and those of the further tokens, one by one."""
    begun = time.perf_counter()
    feed(prompt)
    prefilled = time.perf_counter()
    for token in more:
        feed([token])
    return prefilled - begun, time.perf_counter() - prefilled


def _silent(level: int, text: bytes, data: object) -> None:
    pass


PEERS: dict[str, tuple[Callable[[Order], Turn], str]] = {  # name: how to load it, the distribution whose version counts
    "medrega": (medrega, "onnxruntime"),
    "medrega, other groups": (medrega, "onnxruntime"),
    "onnxruntime-genai": (onnxruntime_genai, "onnxruntime-genai"),
    "llama.cpp": (llama_cpp, "llama-cpp-python"),
    "OpenVINO": (openvino, "openvino"),
    "torch fp32": (torch_fp32, "torch"),
    "torch bf16": (torch_bf16, "torch"),
}


def _peak_mib() -> float:
    """This process's own peak memory; that of getrusage begins at its parent's."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _serve(order: Order) -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints goes to standard error
    load, distribution = PEERS[order["peer"]]
    numbers = random.Random(order["seed"])

    def random_tokens(count: int) -> list[int]:
        return [numbers.randrange(1, order["shape"]["vocabulary"]) for _ in range(count)]

    begun = time.perf_counter()
    run = load(order)
    loaded = time.perf_counter() - begun
    run(random_tokens(order["prompt"]), random_tokens(order["tokens"]))
    answers.write(json.dumps({"version": version(distribution), "load_seconds": loaded}) + "\n")
    for _ in sys.stdin:
        # Each turn has another prompt, because a cached prefix would make it too cheap.
        prefill, decode = run(random_tokens(order["prompt"]), random_tokens(order["tokens"]))
        answers.write(json.dumps({"prefill_seconds": prefill, "decode_seconds": decode, "peak_mib": _peak_mib()}) + "\n")


if __name__ == "__main__":
    _serve(json.loads(sys.argv[1]))
