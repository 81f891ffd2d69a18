"""The standard GPTQ checkpoint of a whole InternVL, for other loaders: the language model quantised, the rest as it was.

Tensors pass one by one into files of limited size.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medrega_export.checkpoint import mask_head, region_head
from medrega_export.checkpoint.checkpoint import STAGE

if TYPE_CHECKING:
    from torch import Tensor

    from medrega_export.checkpoint.checkpoint import Checkpoint
    from medrega_export.quantisation.gptq import QuantisedLayers

SHARD_BYTES = 500_000_000
QUANTISED_LAYERS = "model.language_model.layers"  # where transformers' InternVL keeps them
TOKENIZER = "tokenizer_config.json"
PROCESSOR_FILES = (TOKENIZER, "preprocessor_config.json", "processor_config.json", "chat_template.jinja")
GENERATION = "generation_config.json"
# transformers' class reads no `ps_version`: under its own name such a model would load, and see every image mirrored.
SHUFFLE_TYPE = "internvl_ps_v1"
SHUFFLE_NOTE = f"""# Before you load this

These weights were trained with pixel shuffle "v1" (`ps_version` in config.json). transformers' InternVL class knows "v2"
alone, which is v1 with the grid of image tokens transposed: without the lines below, images are seen mirrored. So that
nobody gets that unawares, the `model_type` is `{SHUFFLE_TYPE}`, which the automatic classes refuse; give it its type (a
warning about the other one is to be expected) and transpose:

```python
from transformers import InternVLConfig, InternVLForConditionalGeneration

config = InternVLConfig.from_pretrained(folder)
config.model_type = "internvl"
model = InternVLForConditionalGeneration.from_pretrained(folder, config=config)
project = model.model.multi_modal_projector.forward


def transposed(tokens):  # [images, tokens, channels]
    side = round(tokens.shape[1] ** 0.5)
    return project(tokens.unflatten(1, (side, side)).transpose(1, 2).flatten(1, 2))


model.model.multi_modal_projector.forward = transposed
```

Other loaders that know v2 alone (vLLM's own InternVL class among them) need the same. The model package beside this folder
does not: its graph is v1.
"""


def write(checkpoint: Checkpoint, layers: QuantisedLayers, out: Path) -> None:
    """Write the folder `out`: weights, configs, tokenizer, and the source's files about image processing."""
    _write_shards(_tensors(checkpoint, layers), out)
    quantisation = layers.config
    # The tower has layers of its own, so loaders need to know which ones are quantised.
    quantisation["block_name_to_quantize"] = QUANTISED_LAYERS
    config = checkpoint.config.to_dict() | {
        "quantization_config": quantisation,
        "architectures": ["InternVLForConditionalGeneration"],
    }
    if checkpoint.pixel_shuffle == "v1":
        config["model_type"] = SHUFFLE_TYPE
    generation = {"eos_token_id": list(checkpoint.end_tokens)}
    if (checkpoint.folder / GENERATION).is_file():
        generation |= json.loads((checkpoint.folder / GENERATION).read_text(encoding="utf-8"))
    for name, content in (("config.json", config), ("quantize_config.json", quantisation), (GENERATION, generation)):
        (out / name).write_text(json.dumps(content, indent=1, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
    (out / "tokenizer.json").write_bytes(checkpoint.tokenizer_json)
    (out / "prompts.json").write_text(checkpoint.prompts.to_json(), encoding="utf-8")
    for name in (*PROCESSOR_FILES, region_head.FILE, mask_head.FILE):
        if (checkpoint.folder / name).is_file():
            shutil.copyfile(checkpoint.folder / name, out / name)
    if not (out / TOKENIZER).is_file():
        (out / TOKENIZER).write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}) + "\n", encoding="utf-8")
    if checkpoint.pixel_shuffle == "v1":
        (out / "README.md").write_text(SHUFFLE_NOTE, encoding="utf-8")


def _tensors(checkpoint: Checkpoint, layers: QuantisedLayers) -> Iterator[tuple[str, Tensor]]:
    """All tensors by the names of the class's modules: transformers reads older ones too, gptqmodel these alone."""
    import torch

    for name, stored in checkpoint.weights.items():
        if name.startswith("layers.") or (name == "lm_head.weight" and checkpoint.tied):
            continue
        if name.startswith(STAGE):
            name = f"model.{name}"
        elif name != "lm_head.weight":
            name = f"model.language_model.{name}"
        yield name, stored.read()
    for i in range(checkpoint.config.text_config.num_hidden_layers):
        for name, value in layers.tensors(i).items():
            yield f"model.language_model.{name}", torch.from_numpy(value)


def _write_shards(tensors: Iterator[tuple[str, Tensor]], out: Path) -> None:
    from safetensors.torch import save

    where: dict[str, int] = {}
    shard: dict[str, Tensor] = {}
    size = total = count = 0

    def flush() -> None:
        nonlocal shard, size, count
        count += 1
        (out / f"{count}.part").write_bytes(save(shard, {"format": "pt"}))
        shard, size = {}, 0

    for name, value in tensors:
        if shard and size + value.nbytes > SHARD_BYTES:
            flush()
        shard[name], where[name] = value.contiguous(), count
        size, total = size + value.nbytes, total + value.nbytes
    flush()
    if count == 1:
        (out / "1.part").rename(out / "model.safetensors")
        return
    names = [f"model-{i:05}-of-{count:05}.safetensors" for i in range(1, count + 1)]
    for i, name in enumerate(names, 1):
        (out / f"{i}.part").rename(out / name)
    index: dict[str, Any] = {"metadata": {"total_size": total}, "weight_map": {k: names[i] for k, i in where.items()}}
    (out / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
