"""GPTQ quantisation of the language model alone, conditioned on images: 4 bit, symmetric, groups of 32.

Knows gptqmodel 7.6.0, exactly this version: the calibration samples are embeddings with image features in them, and
feeding those means replacing two of its internal methods. Knows nothing of images, prompts or ONNX, and writes no
calibration data to disk: the library sees tensors only.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MethodType
from typing import TYPE_CHECKING, Any

from medrega_edge.errors import ResourceError, UsageError
from medrega_export.gptq_format import exceptions_of
from medrega_export.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor

GPTQMODEL_VERSION = "7.6.0"
QUANTISED_LAYERS = "model.language_model.layers"  # where transformers' InternVL keeps them
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json", "chat_template.jinja")
ENVIRONMENT = {
    "GPTQMODEL_CPU_WORKERS": "2",  # its own default fails on machines with two cores
    "GPTQMODEL_DISABLE_PACK_EXT": "1",  # spares a C++ build of 40 s; the output is identical bit for bit
}


@dataclass(frozen=True)
class Sample:
    """One calibration sequence: token ids `[S]` for the library's statistics, `embeddings` `[S, hidden]` to run on."""

    ids: Tensor
    embeddings: Tensor


def split_text_model(model: Any, folder: Path, tied: bool) -> None:
    """Save the language model of an InternVL as a folder of its own, `model.language_model.*` -> `model.*`."""
    import torch
    from transformers import AutoModelForCausalLM

    config = type(model.config.text_config).from_dict(model.config.text_config.to_dict())
    config.tie_word_embeddings = tied
    state = {f"model.{name}": value for name, value in model.model.language_model.state_dict().items()}
    state["lm_head.weight"] = model.lm_head.weight.detach()
    with torch.device("meta"):
        text: Any = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    # Buffers such as the rotary frequencies are computed anew by whoever loads the folder.
    missing, unexpected = text.load_state_dict(state, strict=False, assign=True)
    if missing or unexpected:
        raise UsageError(f"The language model has weights that its class does not know: {missing or unexpected}.")
    if tied:
        text.tie_weights()
    text.save_pretrained(folder, state_dict=text.state_dict(), safe_serialization=True)


def quantise(text_folder: Path, samples: Sequence[Sample], out: Path, recipe: Recipe) -> None:
    """Quantise a text-only folder to `out`, the standard GPTQ checkpoint; the output head stays as it is."""
    version = importlib.metadata.version("gptqmodel")
    if version != GPTQMODEL_VERSION:
        raise ResourceError(
            f"Calibration on images is written for gptqmodel {GPTQMODEL_VERSION}, not {version}: install that one."
        )
    if not samples:
        raise UsageError("Quantisation needs calibration questions; name a file with --calibration.")
    with _environment(), _quiet(), tempfile.TemporaryDirectory() as scratch:
        import torch
        from gptqmodel import GPTQModel, QuantizeConfig
        from gptqmodel.looper import loop_processor

        # It would leave a folder `logs` wherever the command is run.
        loop_processor._PROJECT_LOG_DIR = Path(scratch)

        config = QuantizeConfig(
            bits=recipe.bits,
            group_size=recipe.group_size,
            sym=recipe.symmetric,
            dynamic=exceptions_of(recipe) or None,
            desc_act=False,
            device="cpu",
            offload_to_disk=False,
        )
        quantiser = GPTQModel.load(str(text_folder), config, dtype=torch.float32)
        quantiser.prepare_dataset = MethodType(_prepare_dataset, quantiser)
        quantiser.run_input_capture = MethodType(_run_input_capture, quantiser)
        quantiser.quantize([{"input_ids": sample.ids[None], "inputs_embeds": sample.embeddings} for sample in samples])
        shutil.rmtree(out, ignore_errors=True)
        quantiser.save(str(out))


def join_checkpoint(model: Any, text_gptq: Path, source: Path, out: Path) -> None:
    """Write the whole InternVL with its quantised language model to the folder `out`, in the Hugging Face layout.

    Tower and projector stay in full precision; names are those that transformers writes for this class.
    What the checkpoint folder `source` says of image processing is copied.
    """
    from safetensors.torch import load_file, save_file

    state = {
        name.removeprefix("model."): value.detach().contiguous()
        for name, value in model.state_dict().items()
        if not name.startswith(("model.language_model.", "lm_head."))
    }
    for path in sorted(text_gptq.glob("*.safetensors")):
        for name, value in load_file(path).items():
            state[f"language_model.{name}"] = value
    save_file(state, out / "model.safetensors", metadata={"format": "pt"})
    quantisation = json.loads((text_gptq / "quantize_config.json").read_text(encoding="utf-8"))
    # The tower has layers of its own: loaders are told which ones are quantised instead of left to guess.
    quantisation["block_name_to_quantize"] = QUANTISED_LAYERS
    config = model.config.to_dict() | {"quantization_config": quantisation, "architectures": [type(model).__name__]}
    for name, content in (("config.json", config), ("quantize_config.json", quantisation)):
        (out / name).write_text(json.dumps(content, indent=1, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
    model.generation_config.save_pretrained(out)
    for folder, names in ((text_gptq, TOKENIZER_FILES), (source, PROCESSOR_FILES)):
        for name in names:
            if (folder / name).is_file():
                shutil.copyfile(folder / name, out / name)


def _prepare_dataset(self: Any, calibration_dataset: Any, **_: Any) -> list[dict[str, Any]]:
    """Pass the samples on as they are: one sequence a batch, so no padding and no mask to get wrong."""
    return [{"input_ids": row["input_ids"], "inputs_embeds": row["inputs_embeds"][None]} for row in calibration_dataset]


def _run_input_capture(self: Any, example: dict[str, Any], use_cache: bool, data_device: Any) -> Any:
    embeddings = example["inputs_embeds"].to(device=data_device, dtype=self.model.dtype)
    return self.model(inputs_embeds=embeddings, use_cache=use_cache)


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """Set what gptqmodel reads at import, for as long as it is needed; what the user has set stays."""
    added = {name: value for name, value in ENVIRONMENT.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's banner and progress bars off stdout, which belongs to the answer of a command."""
    import io

    with contextlib.redirect_stdout(io.StringIO()):
        yield
