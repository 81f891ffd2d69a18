"""A training run: three stages in one folder, each resumable, then the checkpoint.

Stage 0 `dense` teaches the tower where things are. Stage 1 `align` fits the projector to the frozen tower and warms the
language model up. Stage 2 `instruct` teaches every task; whether the tower trains along is the plan's choice: without its
backward pass, with its features computed once for a pool of views, there is time for many more questions, and the
language model learns to read off what stands still. Each stage hands on the average of its weights. A run may start from
another checkpoint of the same shape, whatever its tokenizer.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor
from transformers import InternVLForConditionalGeneration

from medrega_edge.boxes import GRID_MAX
from medrega_edge.domain import Language
from medrega_edge.errors import UsageError
from medrega_edge.evaluation.records import Record, read_records
from medrega_edge.io.atomic import write_text
from medrega_edge.prompts.templates import DEFAULT_PROMPTS, DETECT_QUESTION
from medrega_train.card import checkpoint_facts
from medrega_train.dense_head import DenseHead, DenseModule, DenseSamples, DenseVocabulary, collate, plain_iou
from medrega_train.feature_cache import FeaturePool
from medrega_train.language import LanguageModule
from medrega_train.language_samples import Encoder, LanguageSamples, LiveSamples
from medrega_train.loop import Stage, run_stage
from medrega_train.model import build_model, build_tower, graft, load_checkpoint, take_weights
from medrega_train.presets import Preset, StagePlan
from medrega_train.questions import QuestionSampler, all_texts, draw_weight, prompt_book, question_weight
from medrega_train.records import split_of
from medrega_train.region_head import LEAST, OVERLAP
from medrega_train.tokens import END, PAD, token_id, train_tokenizer
from medrega_train.views import Views

MEASURES_PER_STAGE = 2
MEASURE_BATCH = 64
LANGUAGE_STAGES = ("align", "instruct")
REGION_HEAD = "region_head.safetensors"  # beside the model of a checkpoint
MEASURE_QUESTIONS = 384  # of the validation split, while the language model trains


@dataclass(frozen=True)
class RunOptions:
    """Where a run lives and how it is run; none of this changes what is learned."""

    data: Path
    folder: Path
    minutes: float | None = None
    workers: int = 1
    compile: bool = False
    start: Path | None = None  # a checkpoint to start from


def train(preset_name: str, preset: Preset, options: RunOptions) -> Path | None:
    """Run, or go on with, a training run; return the checkpoint's folder, None when the slice ended before.

    Raises UsageError when the folder holds a run of another preset.
    """
    deadline = time.monotonic() + 60 * options.minutes if options.minutes else float("inf")
    claim(options.folder, preset_name, preset)
    records = list(read_records(options.data))
    accelerator = make_accelerator()
    train_views = Views(split_of(records, "train"), preset.image_size, preset.seed)
    val_views = Views(split_of(records, "val"), preset.image_size, preset.seed)
    if not train_views.records or not any(len(r.boxes) == 1 for v in val_views.records for r in v.targets):
        raise UsageError("train.no_images")
    context = _Context(preset, options, train_views, val_views, read_tokenizer(options, preset, train_views.records))
    dense = _dense_stage(context)
    if not finish(dense, accelerator, options, deadline):
        return None
    assert isinstance(dense.module, DenseModule)
    module = _language_module(context, dense.module)
    for name in LANGUAGE_STAGES:
        source = _source(context, name, module, accelerator, deadline)
        if source is None or not finish(_language_stage(name, context, module, source), accelerator, options, deadline):
            return None
    if not accelerator.is_main_process:
        return options.folder
    return write_checkpoint(options, context.tokenizer, train_views.records, preset_name, module.model)


def make_accelerator() -> Accelerator:
    """Mixed precision where the hardware multiplies bfloat16 natively, full precision elsewhere."""
    native = torch.cuda.is_available() or torch.cpu._is_avx512_bf16_supported()
    return Accelerator(mixed_precision="bf16" if native else "no", cpu=not torch.cuda.is_available())


@dataclass(frozen=True)
class _Context:
    """What every stage of a run shares."""

    preset: Preset
    options: RunOptions
    train: Views
    val: Views
    tokenizer: Tokenizer

    @property
    def grid(self) -> int:
        return self.preset.grid

    @property
    def vocabulary(self) -> DenseVocabulary:
        return DenseVocabulary.of(self.train.records)

    @property
    def encoder(self) -> Encoder:
        return Encoder(self.tokenizer, DEFAULT_PROMPTS, (self.grid // 2) ** 2)


def claim(folder: Path, name: str, preset: Preset) -> None:
    """Make the folder of a run; raises UsageError where it holds a run of another preset."""
    path = folder / "preset.json"
    mine = json.loads(json.dumps({"name": name} | asdict(preset)))
    if path.is_file() and json.loads(path.read_text()) != mine:
        raise UsageError("train.other_run", folder=folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(mine, indent=1) + "\n")


def read_tokenizer(options: RunOptions, preset: Preset, records: list[Record]) -> Tokenizer:
    """The tokenizer of a run, trained when the run begins."""
    path = options.folder / "tokenizer.json"
    if not path.is_file():
        write_text(path, train_tokenizer(all_texts(records), preset.vocabulary).to_str(pretty=True))
    return Tokenizer.from_file(str(path))


def finish(stage: Stage, accelerator: Accelerator, options: RunOptions, deadline: float) -> bool:
    """Run a stage unless it is finished already; True when its final weights are there and loaded."""
    folder = options.folder / stage.name
    final = folder / "final.pt"
    if not final.is_file() and not run_stage(stage, folder, accelerator, deadline, options.workers):
        return False
    stage.module.load_state_dict(torch.load(final, map_location="cpu", weights_only=True))
    return True


def _every(steps: int) -> int:
    return max(1, steps // MEASURES_PER_STAGE)


def _dense_stage(context: _Context) -> Stage:
    preset, vocabulary = context.preset, context.vocabulary
    tower = build_tower(preset)
    if context.options.start is not None:
        take_weights(tower, load_checkpoint(context.options.start).model.vision_tower.state_dict())
    module = DenseModule(tower, DenseHead(tower.config.hidden_size, context.grid, vocabulary))
    if context.options.compile:
        tower.compile()
    held_out = DenseSamples(context.val, vocabulary, context.grid, train=False)

    def measure() -> dict[str, float]:
        device = next(module.parameters()).device
        starts = range(0, len(held_out), MEASURE_BATCH)
        chunks = (range(start, min(start + MEASURE_BATCH, len(held_out))) for start in starts)
        figures: dict[str, float] = module.measure(collate([held_out[i] for i in chunk]).to(device) for chunk in chunks)
        return figures

    samples = DenseSamples(context.train, vocabulary, context.grid)
    return Stage("dense", module, samples, collate, preset.dense, measure, _every(preset.dense.steps))


def _language_module(context: _Context, dense: DenseModule) -> LanguageModule:
    tokenizer, start = context.tokenizer, context.options.start
    ids = {"image": context.encoder.image_id, "end": token_id(tokenizer, END), "pad": token_id(tokenizer, PAD)}
    model = build_model(context.preset, ids, tokenizer.get_vocab_size())
    if start is not None:
        graft(model, tokenizer, load_checkpoint(start), Tokenizer.from_file(str(start / "tokenizer.json")))
    model.model.vision_tower.load_state_dict(dense.tower.state_dict())
    model.model.vision_tower.config._attn_implementation = dense.tower.config._attn_implementation
    if context.options.compile:
        model.model.vision_tower.compile()
    return LanguageModule(model, dense.head, context.encoder)


def _source(
    context: _Context, name: str, module: LanguageModule, accelerator: Accelerator, deadline: float
) -> LiveSamples | FeaturePool | None:
    """Where the samples of a language stage come from; None when the slice ended before the pool was full.

    A stage that freezes the tower draws from the run's one pool: what is frozen is always the tower of stage 0.
    """
    if getattr(context.preset, name).tower_learning_rate > 0:
        views = context.train.for_stage(LANGUAGE_STAGES.index(name) + 1, question_weight)
        return LiveSamples(views, DenseSamples(context.train, context.vocabulary, context.grid))
    views = context.train.for_stage(1, question_weight)
    pool = FeaturePool(views, context.options.folder / "pool", context.preset.pool, draw_weight)

    def encode(pictures: Tensor) -> Tensor:
        with accelerator.autocast():
            return module.encode(pictures.to(accelerator.device))

    module.to(accelerator.device).eval()
    with accelerator.main_process_first():  # the others find it full
        full = pool.fill(encode, deadline, context.options.workers)
    return pool if full else None


def _language_stage(name: str, context: _Context, module: LanguageModule, source: LiveSamples | FeaturePool) -> Stage:
    plan: StagePlan = getattr(context.preset, name)
    module.tower_trains(plan.tower_learning_rate > 0)
    samples = LanguageSamples(source, QuestionSampler(context.train.records), context.encoder, plan.questions)

    def measure() -> dict[str, float]:
        return _measure_boxes(context, module)

    prefix = "model.model.vision_tower."
    return Stage(name, module, samples, samples.collate, plan, measure, _every(plan.steps), prefix)


def _measure_boxes(context: _Context, module: LanguageModule) -> dict[str, float]:
    """Mean IoU of written boxes on single regions of the validation split, asked in one fixed wording."""
    dense = DenseSamples(context.val, context.vocabulary, context.grid, train=False)
    cases = []
    for index, record in enumerate(context.val.records):
        for region in record.targets:
            if len(region.boxes) == 1:
                cases.append((index, region))
    chosen = np.random.default_rng(context.preset.seed).permutation(len(cases))[:MEASURE_QUESTIONS]
    device = next(module.parameters()).device
    encoder, written, truth = context.encoder, [], []
    for start in range(0, len(chosen), MEASURE_BATCH):
        part = [cases[i] for i in chosen[start : start + MEASURE_BATCH]]
        pixels = torch.from_numpy(np.stack([dense[index].pixels for index, _ in part])).to(device)
        openings = [
            encoder.opening(DETECT_QUESTION[Language.EN].format(x=region.label_en), region.label_en) for _, region in part
        ]
        written.append(module.write_boxes(pixels, encoder.prefix, openings, encoder.separators).float() / GRID_MAX)
        for index, region in part:
            record, view = context.val.clean(index)
            shown = next(r for r in view.regions if r.label_en == region.label_en)
            truth.append(torch.from_numpy(shown.boxes[0]))
    iou = plain_iou(torch.cat(written), torch.stack(truth))
    return {"val_iou": float(iou.mean()), "val_acc50": float((iou >= 0.5).float().mean())}


def write_checkpoint(
    options: RunOptions,
    tokenizer: Tokenizer,
    records: list[Record],
    preset_name: str,
    model: InternVLForConditionalGeneration,
    head: Mapping[str, Tensor] | None = None,
) -> Path:
    """Save what transformers loads, and beside it what the exporter has to know; put in place as a whole."""
    target, building = options.folder / "checkpoint", options.folder / ".checkpoint.tmp"
    shutil.rmtree(building, ignore_errors=True)
    model.save_pretrained(building)
    tokenizer.save(str(building / "tokenizer.json"))
    (building / "prompts.json").write_text(prompt_book(records).to_json(), encoding="utf-8")
    start = options.start
    origin = f"the checkpoint '{start.name}'" if start else None
    facts = checkpoint_facts(preset_name, records, origin, has_region_head=head is not None)
    if head is not None:
        save_file({name: value.contiguous() for name, value in head.items()}, building / REGION_HEAD)
        facts["region_head"] = {"several": LEAST, "overlap": OVERLAP}
    (building / "training.json").write_text(json.dumps(facts, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    building.rename(target)
    return target
