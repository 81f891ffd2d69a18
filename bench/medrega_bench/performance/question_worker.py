"""Runs one program for `question_comparison`, inside the program's own environment: `python -P question_worker.py ORDER`.

ORDER is JSON with the shapes, the files, the numbers of tokens and images, and `cold`. Each program is a class that loads a
model with a vision tower and answers: `first` about a new image, `second` about the same image, `batch` about several new
ones. Answers have `tokens` tokens, the likeliest ones. Only ours import this project. Standard output is lines of JSON.

Cold: the process answers one question and writes its version and peak memory; whoever started it measures the time.
Otherwise it answers everything once to warm up, and writes the same; then for each line of standard input the seconds of
each kind of question, about new random images of the size that the tower takes. Every program gets the same numbers of
tokens around the image, keeps what it computed about an image as its users can, and answers a batch in the way that is
fastest for it.
"""

from __future__ import annotations

import json
import os
import random
import resource
import string
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

Order = dict[str, Any]
Image = bytes  # RGB, row by row

LLAMA, LLAMA_SMALL = "llama.cpp", "llama.cpp, smaller tower"
CONTEXT, UBATCH = 2048, 512
CHANNELS = 3
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Program(Protocol):
    """A model that has been loaded. Each method returns when its answers are whole, with their mean number of tokens.

    One that knows where the time of its last answer went may have `parts`: seconds by stage.
    """

    def first(self, image: Image) -> float:
        """Answer a question about a new image."""

    def second(self) -> float:
        """Answer another question about the image of the first."""

    def batch(self, images: Sequence[Image]) -> float:
        """Answer one question about each image."""


def letters(count: int) -> str:
    """Random text in which each character is one token of the peers' vocabulary."""
    return "".join(random.choice(string.ascii_lowercase) for _ in range(count))


class Medrega:
    """Our runtime: the image's prefix stays in the cache; `region` answers in its grammar, else token by token."""

    def __init__(self, order: Order, region: bool) -> None:
        """Load as the engine does, the two graphs at the same time."""
        from concurrent.futures import ThreadPoolExecutor

        from medrega_bench.performance.question_grammars import Asker

        self._asker = Asker(order["package"], order["threads"], ThreadPoolExecutor(2), order["tokens"], region)
        self._image: Any = None

    def first(self, image: Image) -> float:
        """Encode, and ask."""
        self._image = self._asker.encode(image)
        tokens = self._asker.ask(self._image)
        self.parts = dict(self._asker.parts)
        return tokens

    def second(self) -> float:
        """Ask again; the prefix is in the cache."""
        return self._asker.ask(self._image)

    def batch(self, images: Sequence[Image]) -> float:
        """One after the other, as `medrega batch` answers them."""
        return sum(map(self.first, images)) / len(images)


class LlamaCpp:
    """llama.cpp and its mtmd through their C interface; its server keeps an image's prefix and shares passes likewise."""

    def __init__(self, order: Order) -> None:
        """Load language model and projector."""
        import ctypes

        import llama_cpp as ll
        from llama_cpp import mtmd_cpp as mtmd

        self._c, self._ll, self._mtmd, self._order = ctypes, ll, mtmd, order
        self._silent = ll.llama_log_callback(lambda *_: None)
        for set_log in (ll.llama_log_set, mtmd.mtmd_log_set, mtmd.mtmd_helper_log_set):
            set_log(self._silent, ctypes.c_void_p())
        ll.llama_backend_init()
        model = self._made(ll.llama_model_load_from_file(order["gguf"].encode(), ll.llama_model_default_params()))
        sequences = 1 if order["cold"] else order["images"]
        parameters = ll.llama_context_default_params()
        parameters.n_ctx, parameters.n_batch, parameters.n_ubatch = max(CONTEXT, 512 * sequences), UBATCH, UBATCH
        parameters.n_threads = parameters.n_threads_batch = order["threads"]
        parameters.n_seq_max, parameters.kv_unified = sequences, True
        self._context = self._made(ll.llama_init_from_model(model, parameters))
        self._memory = ll.llama_get_memory(self._context)
        sight = mtmd.mtmd_context_params_default()
        sight.use_gpu, sight.print_timings, sight.warmup, sight.n_threads = False, False, False, order["threads"]
        self._eyes = self._made(mtmd.mtmd_init_from_file(order["mmproj"].encode(), model, sight))
        self._sampler = ll.llama_sampler_init_greedy()
        self._batch = ll.llama_batch_init(order["images"], 0, 1)
        self._prefix = 0

    @staticmethod
    def _made(handle: Any) -> Any:
        if not handle:
            raise RuntimeError("llama.cpp could not load the model")
        return handle

    @staticmethod
    def _check(failed: int) -> None:
        if failed:
            raise RuntimeError(f"llama.cpp failed with {failed}")

    def first(self, image: Image) -> float:
        """Forget everything, then read image and question."""
        self._ll.llama_memory_clear(self._memory, True)
        end = self._read(image, 0)
        self._prefix = end - self._order["question"]
        return self._answer([end])

    def second(self) -> float:
        """Keep the positions up to the image."""
        self._ll.llama_memory_seq_rm(self._memory, 0, self._prefix, -1)
        ids = [ord(letter) for letter in letters(self._order["question"])]  # the vocabulary begins with the bytes
        tokens = (self._ll.llama_token * len(ids))(*ids)
        self._check(self._ll.llama_decode(self._context, self._ll.llama_batch_get_one(tokens, len(ids))))
        return self._answer([self._prefix + len(ids)])

    def batch(self, images: Sequence[Image]) -> float:
        """Read them one by one, each as a sequence of its own; a pass then feeds a token of each."""
        self._ll.llama_memory_clear(self._memory, True)
        ends, chosen = [], []
        for sequence, image in enumerate(images):
            ends.append(self._read(image, sequence))
            chosen.append(self._ll.llama_sampler_sample(self._sampler, self._context, -1))
        return self._answer(ends, chosen)

    def _read(self, image: Image, sequence: int) -> int:
        """Feed image and question; return the position behind them."""
        mtmd, c, order = self._mtmd, self._c, self._order
        size = order["tower"]["image_size"]
        bitmap = mtmd.mtmd_bitmap_init(size, size, (c.c_uint8 * len(image)).from_buffer_copy(image))
        after = letters(order["after"] - 1 + order["question"])  # mtmd adds <img> and </img>
        written = letters(order["before"] - 1).encode() + mtmd.mtmd_default_marker() + after.encode()
        text = mtmd.mtmd_input_text(written, len(written), True, True)
        chunks, end = mtmd.mtmd_input_chunks_init(), self._ll.llama_pos(0)
        bitmaps = (mtmd.mtmd_bitmap_p_ctypes * 1)(bitmap)
        self._check(mtmd.mtmd_tokenize(self._eyes, chunks, c.byref(text), bitmaps, 1))
        self._check(mtmd.mtmd_helper_eval_chunks(self._eyes, self._context, chunks, 0, sequence, UBATCH, True, c.byref(end)))
        mtmd.mtmd_input_chunks_free(chunks)
        mtmd.mtmd_bitmap_free(bitmap)
        return int(end.value)

    def _answer(self, ends: list[int], chosen: list[int] | None = None) -> float:
        """Write one answer for each sequence; `chosen` are their first tokens if they are known."""
        sample, batch = self._ll.llama_sampler_sample, self._batch
        chosen = chosen or [sample(self._sampler, self._context, -1)]
        for written in range(self._order["tokens"] - 1):
            batch.n_tokens = len(chosen)
            for index, token in enumerate(chosen):
                batch.token[index], batch.pos[index], batch.logits[index] = token, ends[index] + written, 1
                batch.n_seq_id[index], batch.seq_id[index][0] = 1, index
            self._check(self._ll.llama_decode(self._context, batch))
            chosen = [sample(self._sampler, self._context, index) for index in range(len(chosen))]
        return float(self._order["tokens"])


class OpenVino:
    """OpenVINO GenAI's continuous batching, which its VLM pipeline uses by itself; a chat keeps what it has read."""

    def __init__(self, order: Order) -> None:
        """Load the folder that `openvino_files` wrote."""
        import numpy as np
        import openvino_genai
        from openvino import Tensor

        self._np, self._tensor, self._order = np, Tensor, order
        plan = openvino_genai.SchedulerConfig()
        plan.enable_prefix_caching, plan.max_num_batched_tokens = True, 4 * CONTEXT  # as the VLM pipeline's own plan
        threads = {"INFERENCE_NUM_THREADS": order["threads"]}
        self._pipeline = openvino_genai.ContinuousBatchingPipeline(order["openvino"], plan, "CPU", threads)
        # Only what was said, turn by turn: other programs have no more around a question either.
        template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
        self._pipeline.get_tokenizer().set_chat_template(template)
        self._config = openvino_genai.GenerationConfig()
        self._config.max_new_tokens, self._config.ignore_eos, self._config.do_sample = order["tokens"], True, False
        self._chatting = False

    def first(self, image: Image) -> float:
        """Begin a chat with the image."""
        self._end_chat()
        self._pipeline.start_chat()
        self._chatting = True
        return self._generate([self._prompt()], [image])

    def second(self) -> float:
        """Go on with the chat."""
        return self._generate([letters(self._order["question"])], [None])

    def batch(self, images: Sequence[Image]) -> float:
        """All at once."""
        self._end_chat()
        return self._generate([self._prompt() for _ in images], images)

    def _end_chat(self) -> None:
        if self._chatting:
            self._pipeline.finish_chat()
        self._chatting = False

    def _prompt(self) -> str:
        order = self._order  # the pipeline adds <img>, </img> and a line end
        return letters(order["before"] - 1) + "<ov_genai_image_0>" + letters(order["after"] - 2 + order["question"])

    def _generate(self, prompts: list[str], images: Sequence[Image | None]) -> float:
        size = self._order["tower"]["image_size"]
        square = (size, size, CHANNELS)
        tensors = [
            [self._tensor(self._np.frombuffer(image, self._np.uint8).reshape(square).copy())] if image else []
            for image in images
        ]
        configs = [self._config] * len(prompts)
        found = self._pipeline.generate(prompts, images=tensors, generation_config=configs)
        return float(found[-1].perf_metrics.get_num_generated_tokens() / len(prompts))


def onnxruntime_genai(order: Order) -> Program:
    """Ask onnxruntime's own generator for an InternVL: its message says that it has none, as long as that is so."""
    import onnxruntime_genai as og

    folder = Path(order["genai"])
    folder.mkdir(exist_ok=True)
    model = {"type": "internvl_chat", "context_length": CONTEXT, "vocab_size": order["shape"]["vocabulary"]}
    model |= {"decoder": {"filename": "decoder.onnx"}, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    settings = {"model": model, "search": {"max_length": CONTEXT}}
    (folder / "genai_config.json").write_text(json.dumps(settings), encoding="utf-8")
    og.Model(str(folder))
    raise RuntimeError("this version knows InternVL, and this measurement cannot drive it yet")


class Transformers:
    """Transformers' InternVL; the second question reuses the cache up to the image."""

    def __init__(self, order: Order, precision: str) -> None:
        """Make the model with random weights of this precision."""
        import torch
        from transformers import DynamicCache, InternVLConfig, InternVLForConditionalGeneration
        from transformers.utils import logging

        logging.set_verbosity_error()
        shape, tower = order["shape"], order["tower"]
        self._torch, self._new_cache, self._order = torch, DynamicCache, order
        self._image_token = shape["vocabulary"] - 2
        torch.set_num_threads(order["threads"])
        torch.set_default_dtype(getattr(torch, precision))
        size = (tower["image_size"],) * 2
        config = InternVLConfig(
            vision_config={
                "hidden_size": tower["hidden"],
                "num_hidden_layers": tower["layers"],
                "num_attention_heads": tower["hidden"] // tower["head_dim"],
                "intermediate_size": tower["mlp"],
                "image_size": size,
                "patch_size": (tower["patch"],) * 2,
                "attention_bias": True,
                "use_mean_pooling": True,
            },
            text_config={
                "model_type": "qwen2",
                "vocab_size": shape["vocabulary"],
                "hidden_size": shape["hidden"],
                "intermediate_size": shape["mlp"],
                "num_hidden_layers": shape["layers"],
                "num_attention_heads": shape["heads"],
                "num_key_value_heads": shape["kv_heads"],
                "max_position_embeddings": CONTEXT,
                "tie_word_embeddings": True,
                "bos_token_id": None,
                "eos_token_id": None,
            },
            image_token_id=self._image_token,
            tie_word_embeddings=True,
        )
        self._model = InternVLForConditionalGeneration(config).eval()
        self._precision, self._size = getattr(torch, precision), size
        self._mean, self._deviation = (torch.tensor(values).view(1, -1, 1, 1) * 255 for values in (MEAN, DEVIATION))
        self._cache: Any = None
        self._ids: Any = None

    def first(self, image: Image) -> float:
        """Generate, and keep the cache."""
        self._cache, self._ids = self._new_cache(config=self._model.config.text_config), self._prompts(1)
        return self._generate(self._ids, self._cache, [image])

    def second(self) -> float:
        """Cut the cache behind the image; generate from there."""
        prefix = self._ids.shape[1] - self._order["question"]
        self._cache.crop(prefix - self._cache.get_seq_length())  # a negative number of tokens is removed
        ids = self._torch.cat([self._ids[:, :prefix], self._words(1, self._order["question"])], 1)
        return self._generate(ids, self._cache, [])

    def batch(self, images: Sequence[Image]) -> float:
        """All at once."""
        cache = self._new_cache(config=self._model.config.text_config)
        return self._generate(self._prompts(len(images)), cache, images)

    def _words(self, rows: int, count: int) -> Any:
        return self._torch.randint(0, self._image_token, (rows, count))

    def _prompts(self, rows: int) -> Any:
        order, tower = self._order, self._order["tower"]
        image = self._torch.full((rows, (tower["image_size"] // tower["patch"] // 2) ** 2), self._image_token)
        before, after = self._words(rows, order["before"]), self._words(rows, order["after"] + order["question"])
        return self._torch.cat([before, image, after], 1)

    def _generate(self, ids: Any, cache: Any, images: Sequence[Image]) -> float:
        torch, tokens, more = self._torch, self._order["tokens"], {}
        if images:
            pixels = torch.stack([torch.frombuffer(bytearray(image), dtype=torch.uint8) for image in images])
            pixels = pixels.view(len(images), *self._size, CHANNELS).permute(0, 3, 1, 2)
            more["pixel_values"] = ((pixels - self._mean) / self._deviation).to(self._precision)
        found = self._model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            past_key_values=cache,
            min_new_tokens=tokens,
            max_new_tokens=tokens,
            do_sample=False,
            pad_token_id=0,
            **more,
        )
        return float(found.shape[1] - ids.shape[1])


Loader = Callable[[Order], Program]
PROGRAMS: dict[str, tuple[Loader, str]] = {  # name: how to load it, the distribution whose version counts
    "medrega": (lambda order: Medrega(order, region=True), "onnxruntime"),
    "medrega, 8-bit prefill": (lambda order: Medrega(order, region=True), "onnxruntime"),
    "medrega, token by token": (lambda order: Medrega(order, region=False), "onnxruntime"),
    LLAMA: (LlamaCpp, "llama-cpp-python"),
    LLAMA_SMALL: (LlamaCpp, "llama-cpp-python"),
    "onnxruntime-genai": (onnxruntime_genai, "onnxruntime-genai"),
    "OpenVINO": (OpenVino, "openvino-genai"),
    "torch fp32": (lambda order: Transformers(order, "float32"), "torch"),
    "torch bf16": (lambda order: Transformers(order, "bfloat16"), "torch"),
}


def _peak_mib() -> float:
    """This process's own peak memory; that of getrusage begins at its parent's."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _turn(program: Program, images: Sequence[Image]) -> dict[str, Any]:
    marks = [time.perf_counter()]
    tokens = program.first(images[0])
    marks.append(time.perf_counter())
    parts = getattr(program, "parts", None)
    program.second()
    marks.append(time.perf_counter())
    program.batch(images[1:])
    marks.append(time.perf_counter())
    stages = ("first", "second", "batch")
    seconds = {stage: marks[number + 1] - marks[number] for number, stage in enumerate(stages)}
    return {"seconds": seconds, "tokens": tokens, "peak_mib": _peak_mib(), "parts": parts}


def _serve(order: Order) -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints goes to standard error
    load, distribution = PROGRAMS[order["peer"]]
    random.seed(order["seed"])
    side = order["tower"]["image_size"]

    def new_images(count: int) -> list[Image]:
        return [random.randbytes(CHANNELS * side * side) for _ in range(count)]

    images = new_images(1 if order["cold"] else 1 + order["images"])
    program = load(order)
    if order["cold"]:
        program.first(images[0])
    else:
        _turn(program, images)
    answers.write(json.dumps({"version": version(distribution), "peak_mib": _peak_mib()}) + "\n")
    for _ in sys.stdin:
        # Each turn has other images, because a cached one would make it too cheap.
        answers.write(json.dumps(_turn(program, new_images(1 + order["images"]))) + "\n")


if __name__ == "__main__":
    _serve(json.loads(sys.argv[1]))
