"""A training run with a region head: the tower, then the language stages over its features, then the checkpoint.

Stage `tower` tunes EfficientNet-Lite and the region head, asked by label. The stages `align` and `instruct` teach the
language model to answer and to ask the head; the tower stands still, so its features are computed once for a pool of views.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor

from medrega_edge.domain import Language
from medrega_edge.evaluation.records import Record, read_records
from medrega_edge.images.preprocess import Preprocessing, normalise
from medrega_edge.prompts.templates import DEFAULT_PROMPTS, DETECT_QUESTION
from medrega_train import tower_training
from medrega_train.dense_head import plain_iou
from medrega_train.efficientnet_lite import PIXEL_CENTRE, PIXEL_SCALE, STRIDES, EfficientNetLite
from medrega_train.feature_cache import FeaturePool
from medrega_train.language_samples import Encoder, LanguageSamples
from medrega_train.loop import Stage
from medrega_train.model import build_model, graft, load_checkpoint
from medrega_train.padded_views import PaddedViews
from medrega_train.presets import EfficientNet, Preset, StagePlan
from medrega_train.questions import QuestionSampler, draw_weight, question_weight
from medrega_train.records import split_of
from medrega_train.region_head import RegionHead
from medrega_train.region_language import RegionLanguageModule
from medrega_train.run import (
    LANGUAGE_STAGES,
    MEASURES_PER_STAGE,
    RunOptions,
    claim,
    finish,
    make_accelerator,
    read_tokenizer,
    write_checkpoint,
)
from medrega_train.tokens import END, PAD, token_id

MEASURE_QUESTIONS, MEASURE_BATCH = 384, 32  # of the validation split, while the language model trains
TOWER_SIDES = ((0.0, 2 / 3), (0.35, 5 / 6), (0.7, 1.0))  # share of the run, share of the full side
TOWER_WEIGHTS = "tower_and_head.safetensors"


def train(preset_name: str, preset: Preset, options: RunOptions) -> Path | None:
    """Run, or go on with, a training run; return the checkpoint's folder, None when the slice ended before.

    Raises UsageError when the folder holds a run of another preset.
    """
    deadline = time.monotonic() + 60 * options.minutes if options.minutes else math.inf
    claim(options.folder, preset_name, preset)
    records = list(read_records(options.data))
    accelerator = make_accelerator()
    weights = options.folder / "tower" / TOWER_WEIGHTS
    if not weights.is_file() and not tower_training.train(records, weights.parent, _tower_plan(preset), deadline):
        return None
    run = _Run.begin(preset, options, records)
    for name in LANGUAGE_STAGES:
        pool = run.pool(accelerator, deadline)
        if pool is None or not finish(run.stage(name, pool), accelerator, options, deadline):
            return None
    if not accelerator.is_main_process:
        return options.folder
    head = run.module.head.state_dict() | run.module.pooled_region.state_dict(prefix="pooled_region.")
    return write_checkpoint(options, run.tokenizer, run.train.records, preset_name, run.module.model, head)


def _tower_plan(preset: Preset) -> tower_training.Plan:
    assert isinstance(preset.tower, EfficientNet)
    # Below 64 pixels the coarsest map is one place, on which torch 2.13 crashes as `RegionHead.read` says.
    sides = tuple((start, max(64, int(preset.image_size * share) // 64 * 64)) for start, share in TOWER_SIDES)
    return tower_training.Plan(steps=preset.dense.steps, batch=preset.dense.batch, variant=preset.tower.variant, sides=sides)


@dataclass(frozen=True)
class _Run:
    """What the language stages share."""

    preset: Preset
    options: RunOptions
    train: PaddedViews
    val: PaddedViews
    tokenizer: Tokenizer
    module: RegionLanguageModule

    @classmethod
    def begin(cls, preset: Preset, options: RunOptions, records: list[Record]) -> _Run:
        train_views = PaddedViews(split_of(records, "train"), preset.image_size, preset.seed)
        val_views = PaddedViews(split_of(records, "val"), preset.image_size, preset.seed)
        tokenizer = read_tokenizer(options, preset, train_views.records)
        encoder = Encoder(tokenizer, DEFAULT_PROMPTS, preset.image_tokens)
        ids = {"image": encoder.image_id, "end": token_id(tokenizer, END), "pad": token_id(tokenizer, PAD)}
        model = build_model(preset, ids, tokenizer.get_vocab_size())
        if (start := options.start) is not None:
            graft(model, tokenizer, load_checkpoint(start), Tokenizer.from_file(str(start / "tokenizer.json")))
        weights = load_file(options.folder / "tower" / TOWER_WEIGHTS)
        tower = {name.removeprefix("tower."): value for name, value in weights.items() if name.startswith("tower.")}
        model.model.vision_tower.load_state_dict(tower)
        module = RegionLanguageModule(model, _asked_by_state(weights, preset))
        return cls(preset, options, train_views, val_views, tokenizer, module.to(memory_format=torch.channels_last))

    @property
    def encoder(self) -> Encoder:
        return Encoder(self.tokenizer, DEFAULT_PROMPTS, self.preset.image_tokens)

    def pool(self, accelerator: Accelerator, deadline: float) -> FeaturePool | None:
        """The features of the run's pool of views; None when the slice ended before it was full."""
        views = self.train.for_stage(1, question_weight)
        pool = FeaturePool(
            views, self.options.folder / "pool", self.preset.pool, draw_weight, _numbers(self.preset.image_size)
        )

        def encode(pictures: Tensor) -> dict[str, Tensor]:
            with accelerator.autocast():
                features: dict[str, Tensor] = self.module.encode(pictures.to(accelerator.device))
            return features

        self.module.to(accelerator.device).eval()
        with accelerator.main_process_first():  # the others find it full
            return pool if pool.fill(encode, deadline, self.options.workers) else None

    def stage(self, name: str, pool: FeaturePool) -> Stage:
        plan: StagePlan = getattr(self.preset, name)
        questions = QuestionSampler(self.train.records, unfinished=True)
        samples = LanguageSamples(pool, questions, self.encoder, plan.questions, self.preset.image_size // min(STRIDES))
        every = max(1, plan.steps // MEASURES_PER_STAGE)
        return Stage(name, self.module, samples, samples.collate, plan, self.measure, every)

    def measure(self) -> dict[str, float]:
        """Mean IoU of single regions of the validation split, asked in one fixed wording."""
        cases = [(i, r) for i, record in enumerate(self.val.records) for r in record.targets if len(r.boxes) == 1]
        chosen = np.random.default_rng(self.preset.seed).permutation(len(cases))[:MEASURE_QUESTIONS]
        device, encoder = next(self.module.parameters()).device, self.encoder
        found, truth = [], []
        for start in range(0, len(chosen), MEASURE_BATCH):
            part = [cases[i] for i in chosen[start : start + MEASURE_BATCH]]
            views = [self.val.clean(index)[1] for index, _ in part]
            numbers = _numbers(self.preset.image_size)
            pixels = torch.from_numpy(np.stack([normalise(view.pixels, numbers) for view in views]))
            names = [region.label_en for _, region in part]
            openings = [encoder.opening(DETECT_QUESTION[Language.EN].format(x=name), name) for name in names]
            boxes = self.module.locate(pixels.to(device), encoder.prefix, openings).boxes[:, 0].cpu()
            for box, view, name in zip(boxes, views, names, strict=True):
                shown = next(region for region in view.regions if region.label_en == name)
                found.append(box / torch.tensor(view.extent * 2))
                truth.append(torch.from_numpy(shown.boxes[0]))
        iou = plain_iou(torch.stack(found), torch.stack(truth))
        return {"val_iou": float(iou.mean()), "val_acc50": float((iou >= 0.5).float().mean())}


def _asked_by_state(weights: dict[str, Tensor], preset: Preset) -> RegionHead:
    """The trained region head with a new entrance: the language model's state instead of the embedding of a label."""
    assert isinstance(preset.tower, EfficientNet)
    head = RegionHead(EfficientNetLite(preset.tower.variant).widths, preset.text_width)
    state = head.state_dict()
    for name, value in weights.items():
        inner = name.removeprefix("regions.")
        if inner in state and not inner.startswith("query."):
            state[inner] = value.float()
    head.load_state_dict(state)
    return head


def _numbers(side: int) -> Preprocessing:
    return Preprocessing(side, (PIXEL_CENTRE / 255,) * 3, (PIXEL_SCALE / 255,) * 3)
