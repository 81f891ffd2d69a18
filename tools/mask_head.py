"""Put the weights of a trained mask head into a checkpoint folder, so that an export of it gives masks.

python -m tools.mask_head train/checkpoints/lite --trained runs/masks/mask_head.safetensors --calibration 1.2,-0.3
python -m tools.mask_head train/checkpoints/lite --package medrega_edge/default_package

Slope and offset are those that `medrega bench masks` fits on val; a label named with --wrong is one whose masks are wrong
even in the right box. With --package a package that is there gets the masks of the checkpoint's file, and all its other
files stay as they are, but for the sentences of its card about masks.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from medrega_edge.package.manifest import MANIFEST, MASK_HEAD, MASK_HEAD_FILE, Manifest, file_entry
from medrega_export.checkpoint import mask_head
from medrega_export.checkpoint.checkpoint import find_mask_head
from medrega_export.finalise import MASK_PRECISION, mask_card, mask_spec
from medrega_export.graphs import mask_graph, vision


def write_weights(path, trained, calibration, wrong):
    """Write the weights of a trained mask head with what was measured of it."""
    from safetensors.torch import load_file, save_file

    images = mask_head.read_facts(trained).trained_on
    stated = {mask_head.CALIBRATION: calibration, mask_head.WRONG: wrong, mask_head.TRAINED_ON: images}
    save_file(load_file(trained), path, {key: json.dumps(value) for key, value in stated.items()})
    path.chmod(0o644)


def add_to_package(checkpoint, folder):
    """Write the graph, its entry in the manifest, and the sentences of the card."""
    graph, path, card = (folder / name for name in (MASK_HEAD_FILE, MANIFEST, "README.md"))
    facts = mask_head.read_facts(checkpoint / mask_head.FILE)
    mask_graph.write_mask_head(vision.reader(find_mask_head(checkpoint)), graph)
    lines = card.read_text(encoding="utf-8").splitlines()
    lines = [mask_card(facts) if line.startswith("Mask head: ") else line for line in lines]
    card.write_text("\n".join(lines) + "\n", encoding="utf-8")
    manifest = Manifest.from_json(path.read_text(encoding="utf-8"))
    entries = {MASK_HEAD: file_entry(graph, MASK_PRECISION), "card": file_entry(card, "text")}
    made = replace(manifest, files={**manifest.files, **entries}, masks=mask_spec(facts))
    path.write_text(made.to_json(), encoding="utf-8")
    for written in (graph, path, card):
        written.chmod(0o644)


def main():
    """Write the file of weights, or the files of a package."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("checkpoint", type=Path)
    options.add_argument("--calibration", default="", help="slope and offset of the promised IoU")
    options.add_argument("--wrong", action="append", default=[], help="label whose masks are wrong even in the right box")
    options.add_argument("--trained", type=Path, help="file that `medrega train --preset masks` has written")
    options.add_argument("--package", type=Path, help="add the masks of the checkpoint to this package instead")
    given = options.parse_args()
    if given.package:
        add_to_package(given.checkpoint, given.package)
    elif given.trained:
        numbers = [float(number) for number in given.calibration.split(",") if number]
        write_weights(given.checkpoint / mask_head.FILE, given.trained, numbers, given.wrong)
    else:
        options.error("name --trained or --package")


if __name__ == "__main__":
    main()
