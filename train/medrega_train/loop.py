"""The training loop of a stage, whatever it trains: steps, slices, checkpoints, log.

A stage is a module whose forward turns a batch into named losses, a data set whose sample number i is a pure function of
i, and a plan. So the state of a run is (step, weights, optimiser, average), and a killed run repeats at most the steps
since its last checkpoint, with the same samples. Through `accelerate launch` the same loop runs on many devices.
"""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from medrega_edge.errors import ResourceError
from medrega_edge.io.atomic import atomic_write, write_text
from medrega_train.presets import StagePlan

SAVE_EVERY_SECONDS = 120.0
FINAL_LEARNING_RATE = 0.02  # of the peak
GRADIENT_NORM = 1.0
STATE = "state.pt"  # the resume point of a stage


@dataclass(frozen=True)
class Stage:
    """What the loop needs of a stage. `tower_prefix` names the parameters that learn at the tower's own rate."""

    name: str
    module: nn.Module
    samples: Dataset[Any]
    collate: Callable[[list[Any]], Any]
    plan: StagePlan
    measure: Callable[[], dict[str, float]]
    measure_every: int
    tower_prefix: str = "tower."


class SampleNumbers:
    """Batches of sample numbers for one process: step s on rank r of w always sees the same ones."""

    def __init__(self, start: int, steps: int, batch: int, rank: int, world: int) -> None:
        """Yield the batches of steps `start` to `steps`."""
        self._range = range(start, steps)
        self._batch, self._rank, self._world = batch, rank, world

    def __iter__(self) -> Iterator[list[int]]:
        """Iterate over batches."""
        for step in self._range:
            first = (step * self._world + self._rank) * self._batch
            yield list(range(first, first + self._batch))

    def __len__(self) -> int:
        """Number of batches."""
        return len(self._range)


class Average:
    """Exponential moving average of the trainable weights: what is measured and handed on."""

    def __init__(self, parameters: list[nn.Parameter], decay: float) -> None:
        """Start from the weights as they are."""
        self._parameters = parameters
        self._decay = decay
        self.shadow = [p.detach().clone() for p in parameters]

    def update(self, step: int) -> None:
        """Follow the weights; early steps count more, so that the start is forgotten."""
        decay = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.shadow, [p.detach() for p in self._parameters], 1 - decay)

    def swap(self) -> None:
        """Exchange weights and average; call again to go back."""
        for parameter, shadow in zip(self._parameters, self.shadow, strict=True):
            weights = parameter.detach().clone()
            parameter.data.copy_(shadow)
            shadow.copy_(weights)


def learning_rate(step: int, plan: StagePlan) -> float:
    """Factor on the peak rate: linear warm-up, then a cosine."""
    if step < plan.warmup:
        return (step + 1) / plan.warmup
    progress = (step - plan.warmup) / max(1, plan.steps - plan.warmup)
    return FINAL_LEARNING_RATE + (1 - FINAL_LEARNING_RATE) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def run_stage(stage: Stage, folder: Path, accelerator: Accelerator, deadline: float, workers: int) -> bool:
    """Train until the plan's last step or the deadline (a `time.monotonic` value); True when the stage is finished.

    Writes `state.pt` (resume point) and `log.jsonl` (one line a step) into `folder`, and at the end `final.pt`, the
    averaged weights of the whole module. Raises ResourceError when the loss diverges.
    """
    folder.mkdir(parents=True, exist_ok=True)
    training = _Training(stage, folder, accelerator)
    steps = stage.plan.steps
    begun = saved = time.monotonic()
    with _stop_signals() as received, _open_log(stage, folder, training.step, accelerator.is_main_process) as log:
        for batch in training.batches(workers):
            figures = training.learn(batch)
            now = time.monotonic()
            log({"step": training.step, "seconds": round(now - begun, 2)} | figures)
            if now - saved > SAVE_EVERY_SECONDS:
                training.save()
                saved = now
            if training.step < steps and _all_agree(accelerator, now > deadline or bool(received)):
                training.save()
                if received:
                    raise SystemExit(128 + received[0])
                return False
    training.save()
    training.write_final()
    return True


class _Training:
    """A stage in progress: its module, optimiser and average, and the number of steps that they have seen."""

    def __init__(self, stage: Stage, folder: Path, accelerator: Accelerator) -> None:
        """Start at the resume point in `folder`, or at the first step."""
        self.stage, self.folder, self.accelerator = stage, folder, accelerator
        named = [(n, p) for n, p in stage.module.named_parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(_groups(named, stage), betas=(0.9, 0.98), fused=True)
        self.module, self.optimizer = accelerator.prepare(stage.module, optimizer)
        self.raw = accelerator.unwrap_model(self.module)
        self.average = Average([p for p in self.raw.parameters() if p.requires_grad], stage.plan.ema_decay)
        self.step = 0
        if (folder / STATE).is_file():
            # Two processes on processors have the device "cpu:0", where nothing can be loaded.
            state = torch.load(folder / STATE, map_location="cpu", weights_only=True)
            self.raw.load_state_dict(state["module"])
            self.optimizer.load_state_dict(state["optimizer"])
            for shadow, stored in zip(self.average.shadow, state["average"], strict=True):
                shadow.copy_(stored)
            self.step = state["step"]

    def batches(self, workers: int) -> DataLoader[Any]:
        """The batches of the steps that are left."""
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        return DataLoader(
            self.stage.samples,
            batch_sampler=SampleNumbers(self.step, self.stage.plan.steps, self.stage.plan.batch, rank, world),
            collate_fn=self.stage.collate,
            num_workers=workers,
            prefetch_factor=4 if workers else None,
        )

    def learn(self, batch: Any) -> dict[str, float]:
        """Take one step; returns its figures: rate, losses, norm of the gradient, and measurements where they are due."""
        stage, factor = self.stage, learning_rate(self.step, self.stage.plan)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        stage.module.train()
        parts = self.module(batch.to(self.accelerator.device))
        loss = torch.stack([part for name, part in parts.items() if not name.startswith("_")]).sum()
        self.accelerator.backward(loss)
        norm = float(self.accelerator.clip_grad_norm_(self.module.parameters(), GRADIENT_NORM))
        if not math.isfinite(norm):
            raise ResourceError("train.diverged", stage=stage.name, step=self.step)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.average.update(self.step)
        self.step += 1
        figures = {"rate": factor, "loss": float(loss.detach()), "norm": norm}
        figures |= {name: round(float(part.detach()), 4) for name, part in parts.items()}
        if self.step % stage.measure_every == 0 or self.step == stage.plan.steps:
            figures |= self._measure()
        return figures

    def _measure(self) -> dict[str, float]:
        """Measure the averaged weights."""
        self.average.swap()
        self.stage.module.eval()
        try:
            return self.stage.measure()
        finally:
            self.average.swap()

    def save(self) -> None:
        """Write the resume point."""
        state = {
            "step": self.step,
            "module": self.raw.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.shadow,
        }
        self._write(STATE, state)

    def write_final(self) -> None:
        """Write the averaged weights, which the module has from then on."""
        self.average.swap()
        self._write("final.pt", self.raw.state_dict())
        self.accelerator.wait_for_everyone()

    def _write(self, name: str, content: dict[str, Any]) -> None:
        if self.accelerator.is_main_process:
            with atomic_write(self.folder / name) as file:
                torch.save(content, file)


@contextmanager
def _open_log(stage: Stage, folder: Path, step: int, is_main: bool) -> Iterator[Callable[[dict[str, float]], None]]:
    """Give a function that adds a line to `log.jsonl` and moves a bar; lines of steps that will be run again are dropped."""
    path = folder / "log.jsonl"
    if is_main and path.is_file():
        write_text(path, "".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[:step]))
    with path.open("a", encoding="utf-8") as file, _progress(is_main) as progress:
        bar = progress.add_task(stage.name, total=stage.plan.steps, completed=step)

        def write(line: dict[str, float]) -> None:
            if is_main:
                file.write(json.dumps(line) + "\n")
                file.flush()
                progress.update(bar, completed=line["step"], description=f"{stage.name} loss {line['loss']:.3f}")

        yield write


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM. They are obeyed between two steps: within one the state is a mixture."""
    received: list[int] = []
    names = (signal.SIGINT, signal.SIGTERM)
    before = {name: signal.signal(name, lambda number, _: received.append(number)) for name in names}
    try:
        yield received
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def _all_agree(accelerator: Accelerator, over: bool) -> bool:
    """Whether the slice is over on any process: all have to leave the loop at the same step."""
    if accelerator.num_processes == 1:
        return over
    votes: Tensor = accelerator.reduce(torch.tensor(float(over), device=accelerator.device), reduction="sum")
    return bool(votes.item() > 0)


def _groups(named: list[tuple[str, nn.Parameter]], stage: Stage) -> list[dict[str, Any]]:
    plan, groups = stage.plan, []
    for in_tower in (True, False):
        for decayed in (True, False):
            chosen = [p for n, p in named if n.startswith(stage.tower_prefix) == in_tower and (p.ndim > 1) == decayed]
            rate = plan.tower_learning_rate if in_tower else plan.learning_rate
            if chosen:
                decay = plan.weight_decay if decayed else 0.0
                groups.append({"params": chosen, "peak": rate, "lr": rate, "weight_decay": decay})
    return groups


def _progress(visible: bool) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    return Progress(*columns, console=console, disable=not (visible and console.is_terminal))
