"""Export a random InternVL of more than a billion weights; print the time, peak memory and hash of the result.

    python -m tools.large_export FOLDER [--kills 3] [--items 4]

The checkpoint has the tower of InternViT-300M and a Qwen2 language model, random weights in bfloat16, and is written
file by file. The export runs as a process of its own; its figures are printed as one line of JSON. With --kills it is
killed at random moments and called again, and has to print the same hash. --limit stops all.
"""

import argparse
import hashlib
import json
import random
import resource
import subprocess
import sys
import time
from pathlib import Path

VISION = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
VISION |= {"image_size": [448, 448], "patch_size": [14, 14], "norm_type": "layer_norm", "attention_bias": True}
TEXT = {"model_type": "qwen2", "hidden_size": 1280, "num_hidden_layers": 16, "num_attention_heads": 20}
TEXT |= {"num_key_value_heads": 4, "intermediate_size": 5120, "vocab_size": 151_674, "max_position_embeddings": 4096}
FILE_BYTES = 250_000_000


def write_checkpoint(folder: Path) -> int:
    """Write the folder; returns the number of weights."""
    import torch
    from safetensors.torch import save_file
    from transformers import InternVLConfig

    from medrega_edge.prompts.templates import DEFAULT_PROMPTS
    from medrega_export.checkpoint.checkpoint import meta_model
    from tests.export.conftest import write_tokenizer

    folder.mkdir(parents=True)
    tokenizer = write_tokenizer(folder / "tokenizer.json")
    text = TEXT | {"eos_token_id": tokenizer.token_to_id("<|im_end|>"), "tie_word_embeddings": False}
    image = tokenizer.token_to_id("<IMG_CONTEXT>")
    config = InternVLConfig.from_dict(
        {"vision_config": VISION, "text_config": text, "image_token_id": image, "tie_word_embeddings": False}
    )
    generator = torch.Generator().manual_seed(0)
    shard: dict[str, torch.Tensor] = {}
    index: dict[str, str] = {}
    count = weights = 0
    shapes = {name: value.shape for name, value in meta_model(config).state_dict().items()}
    for number, (name, shape) in enumerate(shapes.items(), 1):
        value = 0.03 * torch.randn(shape, generator=generator)
        if len(shape) == 1 and not name.endswith("bias"):
            value += 0.1 if ".lambda_" in name else 1.0  # layer scales begin small, norms at one
        shard[name] = value.to(torch.bfloat16)
        weights += value.numel()
        if number == len(shapes) or sum(part.nbytes for part in shard.values()) > FILE_BYTES:
            count += 1
            file = f"model-{count:05}.safetensors"
            save_file(shard, folder / file, metadata={"format": "pt"})
            index |= dict.fromkeys(shard, file)
            shard = {}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}), encoding="utf-8")
    config.save_pretrained(folder)
    (folder / "prompts.json").write_text(DEFAULT_PROMPTS.to_json(), encoding="utf-8")
    training = {"name": "large", "version": "0", "source": "random weights", "tasks": ["detect", "identify"]}
    training |= {"languages": ["en", "zh"], "modalities": ["ct", "mri"]}
    (folder / "training.json").write_text(json.dumps(training), encoding="utf-8")
    return weights


def write_questions(folder: Path) -> Path:
    from tests.export.conftest import write_questions as write

    return write(folder)


def run(folder: Path, items: int, kills: int, limit: float, seed: int) -> dict[str, object]:
    """Export `folder`/checkpoint, killed `kills` times on the way and for good after `limit` seconds; return the figures."""
    out, questions = folder / "package", folder / "questions.jsonl"
    command = [sys.executable, "-m", "medrega_edge", "export", str(folder / "checkpoint"), "--out", str(out), "--force"]
    command += ["--calibration", str(questions), "--calibration-items", str(items)]
    dice, seconds, codes = random.Random(seed), [], []
    while (not codes or codes[-1] != 0) and sum(seconds) < limit:
        begun = time.monotonic()
        process = subprocess.Popen(command, stdout=sys.stderr)
        left = limit - sum(seconds)
        try:
            codes.append(process.wait(min(left, dice.uniform(30, 300)) if len(codes) < kills else left))
        except subprocess.TimeoutExpired:
            process.kill()
            codes.append(process.wait())
        seconds.append(round(time.monotonic() - begun, 1))
        if codes[-1] > 0:
            raise SystemExit(f"the export failed with code {codes[-1]}")
    figures = {"seconds": seconds, "codes": codes}
    figures["peak_bytes"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    if codes[-1] != 0:
        return figures
    files = sorted(path for path in out.iterdir())
    return figures | {
        "package_bytes": sum(path.stat().st_size for path in files),
        "sha256": hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in files)).hexdigest(),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--items", type=int, default=4, help="calibration questions")
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--limit", type=float, default=1e9, help="seconds after which to stop; the same call goes on")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if not (arguments.folder / "checkpoint").exists():
        # In a process of its own: the memory of children is what is measured, and this one has no torch to fork.
        code = "from pathlib import Path; from tools import large_export as l; import sys; f = Path(sys.argv[1]); "
        code += "print(l.write_checkpoint(f / 'checkpoint'), 'weights', file=sys.stderr); l.write_questions(f)"
        subprocess.run([sys.executable, "-c", code, str(arguments.folder)], check=True)
    sys.stdout.write(
        json.dumps(run(arguments.folder, arguments.items, arguments.kills, arguments.limit, arguments.seed)) + "\n"
    )
