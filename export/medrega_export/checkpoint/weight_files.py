"""The files of a checkpoint folder that hold its weights, chosen as transformers chooses them.

One file wins over an index, and an index over everything that it does not name. Of what transformers would read in an order
that nobody chose, nothing is read: a tensor in two files is refused.
"""

from __future__ import annotations

import re
from pathlib import Path, PureWindowsPath
from typing import Any

from medrega_edge.errors import UsageError
from medrega_export.checkpoint import lora, mask_head, region_head
from medrega_export.checkpoint.config import read_json
from medrega_export.checkpoint.weights import StoredTensor, index_tensors

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
NAMED_BY_CONFIG = "transformers_weights"  # the key of config.json that names another file
_ENDING, _INDEX_ENDING = ".safetensors", ".safetensors.index.json"
_DISTRIBUTED = re.compile(r"shard-\d{5}-model-\d{5}-of-\d{5}\.safetensors")  # each holds parts of tensors


def index_weights(folder: Path, config: dict[str, Any]) -> dict[str, StoredTensor]:
    """Find the tensors of a checkpoint folder by the names in its files; raises UsageError."""
    main = _main_file(folder, config)
    if not main.name.endswith(_INDEX_ENDING):
        return index_tensors([main])
    files = _named_files(folder, main)
    missing = sorted({path for path in files.values() if not path.is_file()})
    if missing:
        first = missing[0].relative_to(folder).as_posix()
        raise UsageError("export.weight_files_missing", checkpoint=folder.name, count=len(missing), first=first)
    tensors = index_tensors(sorted(set(files.values())))
    for name, path in files.items():
        if name not in tensors or tensors[name].path != path:
            raise UsageError("export.index_contradicted", index=main.name, tensor=name, file=path.name)
    return tensors


def unread_files(folder: Path, weights: dict[str, StoredTensor]) -> list[str]:
    """Return the names of the weight files in a folder that hold none of its weights."""
    read = {stored.path for stored in weights.values()} | {folder / head.FILE for head in (region_head, mask_head)}
    found = [path for pattern in (f"*{_ENDING}", "pytorch_model*.bin") for path in folder.glob(pattern)]
    return sorted(path.name for path in found if path not in read)


def _main_file(folder: Path, config: dict[str, Any]) -> Path:
    """Return the one file of the weights, or their index."""
    if (folder / lora.CONFIG).is_file():  # transformers would load the base that this file names, and not these weights
        raise UsageError("export.adapter_in_checkpoint", checkpoint=folder.name, file=lora.CONFIG)
    if any(_DISTRIBUTED.fullmatch(path.name) for path in folder.iterdir()):
        raise UsageError("export.weights_distributed", checkpoint=folder.name)
    named = config.get(NAMED_BY_CONFIG)
    if named is not None:
        path = _inside(folder, named, "config.json")
        if not path.is_file():
            raise UsageError("export.weight_files_missing", checkpoint=folder.name, count=1, first=named)
        return path
    for name in (SINGLE, INDEX):
        if (folder / name).is_file():
            return folder / name
    raise UsageError("export.no_weights", checkpoint=folder.name, files=(SINGLE, INDEX))


def _named_files(folder: Path, index: Path) -> dict[str, Path]:
    """Return the file of each tensor as an index names it."""
    named = read_json(index).get("weight_map")
    if not isinstance(named, dict) or not named:
        raise UsageError("export.index_without_files", index=index.name)
    return {tensor: _inside(folder, file, index.name) for tensor, file in named.items()}


def _inside(folder: Path, name: Any, source: str) -> Path:
    """Return the path of a weight file that a file of the checkpoint names.

    Subfolders are read. A link inside the folder may lead out of it: the cache of a model hub is made of such links.
    """
    parts = PureWindowsPath(str(name))  # knows either separator, and drives
    if not isinstance(name, str) or parts.anchor or ".." in parts.parts:
        raise UsageError("export.weights_outside", source=source, file=str(name))
    if not name.endswith((_ENDING, _INDEX_ENDING)):
        raise UsageError("export.weights_not_safetensors", source=source, file=name)
    return folder / name
