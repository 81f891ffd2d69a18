"""What would better eyes be worth? Trials on val that start from the tuned tower.

    python -m tools.tower_trials head teacher --data DATA

    head     the region head goes on over a tower that stands still: as it is, with LiteMedSAM's map added, with 512 pixels
    teacher  the tower goes on, with and without LiteMedSAM's map as a teacher of its own map at stride 16
    masks    the tower goes on, what lies inside an object told by its mask (`--masks`) instead of its box

All arms of a trial see the same images in the same order. Views are clean ones, because their maps are computed once.
"""

import argparse
import copy
import json
import math
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from medrega_edge.evaluation.records import read_records
from medrega_train import lite_medsam
from medrega_train.efficientnet_lite import EfficientNetLite
from medrega_train.records import split_of
from medrega_train.tower_targets import Lessons, TowerVocabulary, collate
from medrega_train.tower_training import Evaluation, TowerWithHead
from medrega_train.tower_views import PictureStore, clean_view, fitted

CHECKPOINTS = Path(__file__).parents[1] / "train" / "checkpoints"
BATCH = 16
SIDE, LARGE = 384, 512
STRIDE = 16  # of the map that LiteMedSAM's is added to, or taught to


class Trial:
    """Images of train and val with boxes, their lessons, and LiteMedSAM's maps of them."""

    def __init__(self, data, images, checked):
        records = list(read_records(data))
        training = split_of(records, "train")
        vocabulary = TowerVocabulary.of(training)
        self.lessons, self.vocabulary = Lessons(training, vocabulary), vocabulary
        dice = np.random.default_rng(7)
        self.train = _some([record for record in training if record.targets], images, dice)
        self.val = _some([record for record in split_of(records, "val") if record.targets], checked, dice)
        self._taught = {}
        self.pictures = {id(part): PictureStore(part) for part in (self.train, self.val)}

    def lesson(self, part, index, side, rng=None):
        record = part[index]
        return self.lessons.lesson(record, clean_view(record, self.pictures[id(part)][index], side), rng)

    def model(self):
        """The tuned tower with its head."""
        model = TowerWithHead(EfficientNetLite("lite2"), self.vocabulary)
        tensors = load_file(CHECKPOINTS / "efficientnet-lite2-384" / "tower_and_head.safetensors")
        model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
        return model.to(memory_format=torch.channels_last).eval()

    def taught(self, part):
        """LiteMedSAM's maps `[256, 24, 24]` of clean views, float16; computed once."""
        if id(part) not in self._taught:
            self._taught[id(part)] = self._encoded(part)
        return self._taught[id(part)]

    @torch.inference_mode()
    def _encoded(self, part):
        encoder = lite_medsam.ImageEncoder()
        tensors = load_file(CHECKPOINTS / "lite" / "mask_head.safetensors")
        ours = {
            name.removeprefix("encoder."): tensor.float() for name, tensor in tensors.items() if name.startswith("encoder.")
        }
        encoder.load_state_dict(ours)
        encoder = encoder.eval()
        found = []
        for index, record in enumerate(part):
            view = clean_view(record, self.pictures[id(part)][index], lite_medsam.SIDE)
            width, height = (max(1, round(extent * lite_medsam.SIDE)) for extent in view.extent)
            pixels = torch.from_numpy(view.pixels.astype(np.float32))
            pixels = (pixels if pixels.ndim == 3 else pixels[..., None].expand(-1, -1, 3)).permute(2, 0, 1)
            image = pixels[:, :height, :width]
            square = torch.zeros(1, 3, lite_medsam.SIDE, lite_medsam.SIDE)
            square[0, :, :height, :width] = (image - image.min()) / (image.max() - image.min()).clamp(min=1e-6)
            with _autocast():
                encoded = encoder(square)
            found.append(F.adaptive_avg_pool2d(encoded.float(), SIDE // STRIDE)[0].half())
        return found


def _some(items, count, dice):
    return [items[i] for i in dice.permutation(len(items))[:count]]


def _autocast():
    return torch.autocast("cpu", torch.bfloat16, enabled=torch.cpu._is_avx512_bf16_supported())


class Stored(nn.Module):
    """Stands for the tower: gives the maps of the images that are asked for next."""

    def __init__(self, maps):
        super().__init__()
        self.maps, self.indices = maps, []

    def forward(self, pixels):
        return tuple(torch.stack([self.maps[i][level].float() for i in self.indices]) for level in range(3))


class Added(nn.Module):
    """Adds another encoder's map to what the head joins; begins as nothing."""

    def __init__(self, width):
        super().__init__()
        self.norm, self.join = nn.GroupNorm(8, lite_medsam.WIDTH), nn.Conv2d(lite_medsam.WIDTH, width, 1)
        nn.init.zeros_(self.join.weight)
        nn.init.zeros_(self.join.bias)
        self.maps, self.indices = [], []

    def hook(self, module, inputs, output):
        maps = torch.stack([self.maps[i].float() for i in self.indices])
        return output + self.join(self.norm(maps))


@torch.inference_mode()
def maps_of(trial, model, part, side):
    """The tower's maps of clean views, float16."""
    found = []
    for index in range(len(part)):
        batch = collate([trial.lesson(part, index, side)])
        scaled = ((batch.pixels.float() - 127) / 128).contiguous(memory_format=torch.channels_last)
        with _autocast():
            found.append([a_map[0].half() for a_map in model.tower(scaled)])
    return found


def evaluate(trial, model, side, aim=None):
    """Mean IoU and accuracy of one object on val; `aim` is called with the indices of each batch."""
    evaluation = Evaluation(trial.val, trial.lessons, side)
    places = iter(range(0, len(trial.val), 16))

    def asked(pixels, labels):
        start = next(places)
        if aim:
            aim(range(start, start + len(pixels)))
        with _autocast():
            return model(pixels, labels)

    model.eval()
    figures = evaluation.measure(asked)
    small = figures["single_by_dataset"]
    return figures["single"]["all"] | {"several": figures["several"]["f1"], "by_dataset": small}


def learn(trial, model, parameters, steps, side, rate, aim=None, extra=None, mend=None):
    """Run `steps` of one cycle; `extra` is a further loss of a batch's indices, `mend` changes a batch's targets."""
    optimizer = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.98), weight_decay=0.03)
    order = np.random.default_rng(11)
    begun = time.monotonic()
    for step in range(steps):
        factor = min(1.0, (step + 1) / (0.05 * steps)) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        for group in optimizer.param_groups:
            group["lr"] = rate * factor
        indices = order.choice(len(trial.train), BATCH, replace=False).tolist()
        batch = collate([trial.lesson(trial.train, i, side, np.random.default_rng([step, i])) for i in indices])
        if aim:
            aim(indices)
        if mend:
            mend(batch, indices)
        with _autocast():
            losses = model.losses(batch)
            loss = torch.stack([losses[name] for name in losses if name not in ("modality", "classes")]).sum()
            if extra:
                loss = loss + extra(indices)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 5.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 50 == 0:
            sys.stderr.write(f"{step} {float(loss):.3f} {time.monotonic() - begun:.0f} s\n")


def head_trial(trial, steps):
    """The head over a tower that stands still: control, LiteMedSAM's map added, 512 pixels."""
    start = trial.model()
    taught = {id(part): trial.taught(part) for part in (trial.train, trial.val)}
    sys.stderr.write("taught\n")
    for side, with_map in ((SIDE, False), (SIDE, True), (LARGE, False)):
        maps = {id(part): maps_of(trial, start, part, side) for part in (trial.train, trial.val)}
        torch.manual_seed(3)
        model = copy.deepcopy(start)
        model.tower, added = Stored(maps[id(trial.train)]), Added(model.regions.join.out_channels)
        parameters = [*model.regions.parameters(), *model.labels.parameters()]
        if with_map:
            model.regions.join.register_forward_hook(added.hook)
            parameters += list(added.parameters())

        def aim(indices, part=trial.train, model=model, added=added, maps=maps):
            model.tower.maps, model.tower.indices = maps[id(part)], indices
            added.maps, added.indices = taught[id(part)], indices

        name = f"{side} px" + (", LiteMedSAM's map added" if with_map else "")
        yield f"{name}, before", evaluate(trial, model, side, lambda indices, aim=aim: aim(indices, trial.val))
        learn(trial, model, parameters, steps, side, 3e-4, aim)
        yield f"{name}, after {steps} steps", evaluate(trial, model, side, lambda indices, aim=aim: aim(indices, trial.val))


def teacher_trial(trial, steps):
    """The tower goes on, with and without LiteMedSAM as a teacher."""
    taught = trial.taught(trial.train)
    sys.stderr.write("taught\n")
    for with_teacher in (False, True):
        torch.manual_seed(3)
        model = trial.model()
        model.let_tower_learn(6)
        student = nn.Conv2d(model.tower.widths[1], lite_medsam.WIDTH, 1)
        seen = []
        model.tower.register_forward_hook(lambda module, inputs, output, seen=seen: seen.append(output[1]))

        def extra(indices, seen=seen, student=student):
            wanted = torch.stack([taught[i].float() for i in indices])
            return 1 - F.cosine_similarity(student(seen.pop()).float(), wanted, dim=1).mean()

        parameters = [p for p in model.parameters() if p.requires_grad]
        parameters += list(student.parameters()) if with_teacher else []

        def forget(indices, seen=seen):
            seen.clear()

        name = "with LiteMedSAM as a teacher" if with_teacher else "without"
        learn(trial, model, parameters, steps, SIDE, 1e-4, forget, extra if with_teacher else None)
        yield f"tower, {name}, after {steps} steps", evaluate(trial, model, SIDE)


class Masks:
    """The masks of records, as the covered share of each place of a clean view."""

    def __init__(self, folder):
        lines = (folder / "masks.jsonl").read_text("utf-8").splitlines()
        self.folder, self.lines = folder, {line["id"]: line for line in map(json.loads, lines)}

    def covered(self, record, label):
        """The covered shares `[SIDE / 8, SIDE / 8]` of a label, None where it has no mask."""
        line = self.lines.get(record.id)
        if line is None or label not in line["values"] or label in line.get("labels_without_mask", ()):
            return None
        name = line["masks"][label] if "masks" in line else line["mask"]
        mask = np.asarray(Image.open(self.folder.parent / name)) == line["values"][label]
        placed = fitted(record.width, record.height, SIDE).scale
        size = max(1, round(record.width * placed[0])), max(1, round(record.height * placed[1]))
        drawn = np.zeros((SIDE, SIDE), np.float32)
        drawn[: size[1], : size[0]] = np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).resize(size)) / 255
        return drawn.reshape(SIDE // 8, 8, SIDE // 8, 8).mean((1, 3))


def masks_trial(trial, steps, folder):
    """The tower goes on with masks; the control is that of `teacher_trial`."""
    masks, replaced, asked = Masks(folder), 0, 0
    torch.manual_seed(3)
    model = trial.model()
    model.let_tower_learn(6)

    def mend(batch, indices):
        nonlocal replaced, asked
        for row, index in enumerate(indices):
            for question in torch.nonzero(batch.regions.present[row] > 0).flatten().tolist():
                label = trial.vocabulary.regions[int(batch.labels[row, question])]
                asked += 1
                if (covered := masks.covered(trial.train[index], label)) is not None:
                    batch.regions.coverage[row, question] = torch.from_numpy(covered)
                    replaced += 1

    parameters = [p for p in model.parameters() if p.requires_grad]
    learn(trial, model, parameters, steps, SIDE, 1e-4, mend=mend)
    yield f"tower, masks of {replaced} of {asked} objects, after {steps} steps", evaluate(trial, model, SIDE)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trials", nargs="+", choices=["head", "teacher", "masks"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", type=int, default=1200)
    parser.add_argument("--checked", type=int, default=320)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--masks", type=Path, help="folder with masks.jsonl")
    given = parser.parse_args()
    made = Trial(given.data, given.images, given.checked)
    trials = {"head": head_trial, "teacher": teacher_trial, "masks": partial(masks_trial, folder=given.masks)}
    for trial in given.trials:
        for name, figures in trials[trial](made, given.steps):
            sys.stdout.write(json.dumps({name: figures}) + "\n")
            sys.stdout.flush()
