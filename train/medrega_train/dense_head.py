"""Stage 0: the vision tower learns where things are, from every patch at once.

Through a language loss alone a tower learns too little from a few thousand images: one answer a question is a thin signal.
Here each patch predicts, for each label, whether it lies in that region and where the region's edges are. The language model
later does the same by attention: it finds the patches of the named object and reads its box. So the features already hold
the answer in a linear form.

Boxes are fractions `[x1, y1, x2, y2]` of the image, 0..1.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medrega_edge.domain import Modality
from medrega_edge.evaluation.records import Record
from medrega_edge.images.preprocess import Preprocessing, normalise
from medrega_train.augment import View
from medrega_train.records import Absence
from medrega_train.views import Views

MAX_PAIRS_PER_IMAGE = 10
NEGATIVES_PER_IMAGE = 4
EDGE_WIDTH = 64
IGNORE = -100

MODALITIES = tuple(Modality)

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class DenseVocabulary:
    """Names of what the dense heads predict: regions, and classes of the whole image with the data sets that use them."""

    regions: tuple[str, ...]
    classes: tuple[str, ...]
    classes_of_dataset: dict[str, tuple[int, ...]]

    @classmethod
    def of(cls, records: list[Record]) -> DenseVocabulary:
        """Collect the names from training records."""
        regions = sorted({g.label_en for r in records for g in r.targets})
        counts: dict[tuple[str, str], int] = {}
        for record in records:
            for label in record.labels:
                counts[record.dataset, label] = counts.get((record.dataset, label), 0) + 1
        used = sorted({label for (_, label), n in counts.items() if n >= 10})
        index = {label: i for i, label in enumerate(used)}
        datasets = sorted({d for d, _ in counts})
        of_dataset = {d: tuple(index[label] for label in used if counts.get((d, label), 0) >= 10) for d in datasets}
        return cls(tuple(regions), tuple(used), of_dataset)


@dataclass
class DenseBatch:
    """Targets of a batch: N (image, label) pairs that are present, M that are certainly absent. P = patches, row by row."""

    pixel_values: Tensor  # [B, 3, S, S]
    pair_image: Tensor  # [N]
    pair_label: Tensor  # [N]
    coverage: Tensor  # [N, P] share of each patch inside the region
    patch_box: Tensor  # [N, P, 4] the box a patch belongs to
    box: Tensor  # [N, 4]
    single: Tensor  # [N] bool: the region is one box
    absent_image: Tensor  # [M]
    absent_label: Tensor  # [M]
    modality: Tensor  # [B]
    classes: Tensor  # [B, K] 0/1
    classes_known: Tensor  # [B, K] 0/1

    def to(self, device: torch.device) -> DenseBatch:
        """Move every tensor."""
        return DenseBatch(**{k: v.to(device, non_blocking=True) for k, v in vars(self).items()})


class DenseSample(NamedTuple):
    """Pixels of one view, and its targets: regions that are there, labels that are not, modality and classes."""

    pixels: Floats  # [3, S, S]
    pairs: list[tuple[int, Floats, Floats, Floats, bool]]  # label, coverage, patch boxes, first box, whether it is one box
    absent: list[int]  # labels
    modality: int  # IGNORE where the picture is no medical image
    classes: Floats  # [2, K]: 0/1, and whether it is known


class DenseSamples(torch.utils.data.Dataset[DenseSample]):
    """Sample number i as numpy arrays; `collate` makes batches of them."""

    def __init__(self, views: Views, vocabulary: DenseVocabulary, grid: int, train: bool = True) -> None:
        """`grid` is the number of patches on a side; `train` False gives clean views by index."""
        self._views = views
        self._grid = grid
        self._train = train
        self._vocabulary = vocabulary
        self._label = {name: i for i, name in enumerate(vocabulary.regions)}
        self._class = {name: i for i, name in enumerate(vocabulary.classes)}
        self._absence = Absence(views.records)
        self._numbers = Preprocessing(views.size)

    def __len__(self) -> int:
        """Number of records; training draws beyond it."""
        return len(self._views.records)

    def __getitem__(self, number: int) -> DenseSample:
        """Return one sample."""
        if self._train:
            return self.sample(*self._views.draw(number))
        record, view = self._views.clean(number)
        return self.sample(record, view, np.random.default_rng(number))

    def sample(self, record: Record, view: View, rng: np.random.Generator) -> DenseSample:
        """Targets of one view."""
        regions = [(self._label.get(region.label_en), region.boxes) for region in view.regions]
        present = [(label, boxes) for label, boxes in regions if label is not None and len(boxes)]
        if len(present) > MAX_PAIRS_PER_IMAGE:
            present = [present[i] for i in rng.permutation(len(present))[:MAX_PAIRS_PER_IMAGE]]
        pairs = [(label, *self._targets(boxes), len(boxes) == 1) for label, boxes in present]
        absent = [n for n in self._absence.missing(record) if n in self._label]
        absent = [absent[i] for i in rng.permutation(len(absent))[:NEGATIVES_PER_IMAGE]]
        others = [n for n in self._absence.elsewhere(record) if n in self._label]
        absent += [others[i] for i in rng.permutation(len(others))[: NEGATIVES_PER_IMAGE - len(absent)]]
        classes = np.zeros((2, len(self._class)), np.float32)
        for name in record.labels:
            if name in self._class:
                classes[0, self._class[name]] = 1.0
        classes[1, list(self._vocabulary.classes_of_dataset.get(record.dataset, ()))] = 1.0
        return DenseSample(
            normalise(view.pixels, self._numbers),
            pairs,
            [self._label[name] for name in absent],
            MODALITIES.index(record.modality),
            classes,
        )

    def foreign(self, pixels: npt.NDArray[np.uint8]) -> DenseSample:
        """Return a sample of a picture that is no medical image: nothing about it is a target."""
        classes = np.zeros((2, len(self._class)), np.float32)
        return DenseSample(normalise(pixels, self._numbers), [], [], IGNORE, classes)

    def _targets(self, boxes: Floats) -> tuple[Floats, Floats, Floats]:
        g = self._grid
        edges = np.arange(g + 1, dtype=np.float32) / g
        low, high = edges[None, :-1], edges[None, 1:]
        along_x = np.clip(np.minimum(high, boxes[:, 2:3]) - np.maximum(low, boxes[:, 0:1]), 0, None) * g  # [n, g]
        along_y = np.clip(np.minimum(high, boxes[:, 3:4]) - np.maximum(low, boxes[:, 1:2]), 0, None) * g
        each = (along_y[:, :, None] * along_x[:, None, :]).reshape(len(boxes), g * g)
        sizes = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        owner = np.argmax(each / (sizes[:, None] + 1e-3), axis=0)  # of overlapping boxes the smaller one owns a patch
        return each.max(axis=0), boxes[owner], boxes[0]


def collate(samples: list[DenseSample]) -> DenseBatch:
    """Stack samples into a batch."""
    pixels, pairs, absent, modality, classes = zip(*samples, strict=True)
    flat = [(i, *pair) for i, image_pairs in enumerate(pairs) for pair in image_pairs]
    absences = [(i, label) for i, labels in enumerate(absent) for label in labels]
    cells = 0 if not flat else len(flat[0][2])
    stacked = np.stack(classes)

    def column(k: int, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> Tensor:
        return torch.from_numpy(np.asarray([row[k] for row in flat], dtype).reshape(len(flat), *shape))

    return DenseBatch(
        pixel_values=torch.from_numpy(np.stack(pixels)),
        pair_image=column(0, np.int64, ()),
        pair_label=column(1, np.int64, ()),
        coverage=column(2, np.float32, (cells,)),
        patch_box=column(3, np.float32, (cells, 4)),
        box=column(4, np.float32, (4,)),
        single=column(5, np.bool_, ()),
        absent_image=torch.tensor([image for image, _ in absences], dtype=torch.long),
        absent_label=torch.tensor([label for _, label in absences], dtype=torch.long),
        modality=torch.tensor(modality),
        classes=torch.from_numpy(stacked[:, 0]),
        classes_known=torch.from_numpy(stacked[:, 1]),
    )


class DenseHead(nn.Module):
    """Reads regions, edges, modality and classes off the tower's last hidden state `[B, 1 + P, C]`."""

    def __init__(self, width: int, grid: int, vocabulary: DenseVocabulary) -> None:
        """`width` is C, `grid` the number of patches on a side."""
        super().__init__()
        labels = len(vocabulary.regions)
        self.norm = nn.LayerNorm(width)
        self.member = nn.Linear(width, labels)
        nn.init.constant_(self.member.bias, -3.0)
        self.edges = nn.Linear(width, 4 * EDGE_WIDTH)
        # Small, so that the first boxes are the patches themselves: large ones cost hundreds of steps to unlearn.
        self.edge_query = nn.Parameter(torch.randn(labels, 4, EDGE_WIDTH) * 0.1 * EDGE_WIDTH**-0.5)
        self.edge_bias = nn.Parameter(torch.tensor([-0.1, -0.1, 0.1, 0.1]).repeat(labels, 1))
        self.modality = nn.Linear(width, len(MODALITIES))
        self.classes = nn.Linear(width, len(vocabulary.classes))
        steps = (torch.arange(grid) + 0.5) / grid
        y, x = torch.meshgrid(steps, steps, indexing="ij")
        centres = torch.stack([x, y, x, y], dim=-1).reshape(-1, 4)
        self.register_buffer("centres", centres, persistent=False)

    def forward(self, hidden: Tensor, image: Tensor, label: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return membership logits `[B, P, L]`, boxes `[N, P, 4]` of the pairs, modality and class logits."""
        normed = self.norm(hidden)
        patches = normed[:, 1:]
        keys = self.edges(patches).unflatten(-1, (4, EDGE_WIDTH))  # [B, P, 4, E]
        offsets = torch.einsum("npke,nke->npk", keys[image], self.edge_query[label].to(keys.dtype))
        boxes = self.centres + (offsets.float() + self.edge_bias[label][:, None])
        whole = patches.mean(dim=1)
        return self.member(patches).float(), boxes, self.modality(whole).float(), self.classes(whole).float()


def pooled_boxes(member: Tensor, boxes: Tensor) -> Tensor:
    """Average the patches' boxes `[N, P, 4]`, weighted by how much each patch belongs (`member`, `[N, P]` logits)."""
    return (member.softmax(dim=-1)[..., None] * boxes).sum(dim=1)


def box_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """L1 plus generalised-IoU loss of boxes `[..., 4]`, one value a box."""
    l1 = (predicted - target).abs().sum(dim=-1)
    return 2.0 * l1 + 1.0 - generalised_iou(predicted, target)


def generalised_iou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised IoU (Rezatofighi et al., 2019) of boxes `[..., 4]`; inverted boxes count as points."""

    def size(box: Tensor) -> Tensor:
        return (box[..., 2:] - box[..., :2]).clamp(min=0)

    overlap = size(torch.cat([torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])], -1))
    hull = size(torch.cat([torch.minimum(a[..., :2], b[..., :2]), torch.maximum(a[..., 2:], b[..., 2:])], -1))
    overlap, hull = overlap.prod(-1), hull.prod(-1)
    union = size(a).prod(-1) + size(b).prod(-1) - overlap
    return overlap / union.clamp(min=1e-6) - (hull - union) / hull.clamp(min=1e-6)


def plain_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of boxes `[..., 4]`."""
    overlap = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    area = [(box[..., 2:] - box[..., :2]).clamp(min=0).prod(-1) for box in (a, b)]
    return overlap / (area[0] + area[1] - overlap).clamp(min=1e-6)


def dense_losses(head: DenseHead, hidden: Tensor, batch: DenseBatch) -> dict[str, Tensor]:
    """Return the parts of the dense loss, each a mean over what it is about."""
    member, boxes, modality, classes = head(hidden, batch.pair_image, batch.pair_label)
    parts = {"modality": 0.3 * F.cross_entropy(modality, batch.modality)}
    known = batch.classes_known.sum().clamp(min=1)
    per_class = F.binary_cross_entropy_with_logits(classes, batch.classes, reduction="none")
    parts["classes"] = (per_class * batch.classes_known).sum() / known
    if len(batch.absent_label):
        logits = member[batch.absent_image, :, batch.absent_label]
        parts["absent"] = 0.3 * F.softplus(logits).mean()
    if len(batch.pair_label):
        logits = member[batch.pair_image, :, batch.pair_label]
        share = logits.sigmoid()
        dice = 1 - (2 * (share * batch.coverage).sum(1) + 0.5) / (share.sum(1) + batch.coverage.sum(1) + 0.5)
        cross = F.binary_cross_entropy_with_logits(logits, batch.coverage, reduction="none").mean(1)
        parts["inside"] = (dice + 2.0 * cross).mean()
        weight = batch.coverage / batch.coverage.sum(1, keepdim=True).clamp(min=1e-6)
        parts["edges"] = (box_loss(boxes, batch.patch_box) * weight).sum(1).mean()
        pooled = pooled_boxes(logits, boxes)
        single = batch.single.float()
        parts["box"] = 2.0 * (box_loss(pooled, batch.box) * single).sum() / single.sum().clamp(min=1)
    return parts


class DenseModule(nn.Module):
    """Tower and dense head as one trainable whole: a batch in, named losses out."""

    def __init__(self, tower: nn.Module, head: DenseHead) -> None:
        """Hold both parts; `tower` is an InternVLVisionModel."""
        super().__init__()
        self.tower = tower
        self.head = head

    def forward(self, batch: DenseBatch) -> dict[str, Tensor]:
        """Return the parts of the loss."""
        return dense_losses(self.head, self.tower(pixel_values=batch.pixel_values).last_hidden_state, batch)

    @torch.no_grad()
    def measure(self, batches: Iterable[DenseBatch]) -> dict[str, float]:
        """Mean IoU of the pooled boxes of single regions, and modality accuracy, over clean views."""
        overlaps: list[Tensor] = []
        right: list[Tensor] = []
        for batch in batches:
            hidden = self.tower(pixel_values=batch.pixel_values).last_hidden_state
            member, boxes, modality, _ = self.head(hidden, batch.pair_image, batch.pair_label)
            logits = member[batch.pair_image, :, batch.pair_label]
            overlaps.append(plain_iou(pooled_boxes(logits, boxes), batch.box)[batch.single])
            right.append((modality.argmax(-1) == batch.modality).float())
        iou = torch.cat(overlaps)
        return {
            "val_iou": float(iou.mean()),
            "val_acc50": float((iou >= 0.5).float().mean()),
            "val_modality": float(torch.cat(right).mean()),
        }
