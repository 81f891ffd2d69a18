"""The training loop: steps, slices, checkpoints, log. Knows nothing of what is trained.

A stage is a module whose forward turns a batch into named losses, a data set whose sample number i is a pure function of
i, and a plan. So the state of a run is (step, weights, optimiser, average), and a killed run repeats at most the steps
since its last checkpoint, with the same samples. Through `accelerate launch` the same loop runs on many devices.
"""

from __future__ import annotations

import json
import math
import os
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
from medrega_train.presets import StagePlan

SAVE_EVERY_SECONDS = 120.0
FINAL_LEARNING_RATE = 0.02  # of the peak
GRADIENT_NORM = 1.0


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
            held = parameter.detach().clone()
            parameter.data.copy_(shadow)
            shadow.copy_(held)


def learning_rate(step: int, plan: StagePlan) -> float:
    """Factor on the peak rate: linear warm-up, then a cosine."""
    if step < plan.warmup:
        return (step + 1) / plan.warmup
    progress = (step - plan.warmup) / max(1, plan.steps - plan.warmup)
    return FINAL_LEARNING_RATE + (1 - FINAL_LEARNING_RATE) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in place: nobody ever sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def run_stage(stage: Stage, folder: Path, accelerator: Accelerator, deadline: float, workers: int) -> bool:
    """Train until the plan's last step or the deadline (a `time.monotonic` value); True when the stage is finished.

    Writes `state.pt` (resume point) and `log.jsonl` (one line a step) into `folder`, and at the end `final.pt`, the
    averaged weights of the whole module.
    """
    plan = stage.plan
    named = [(n, p) for n, p in stage.module.named_parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(_groups(named, stage, plan), betas=(0.9, 0.98), fused=True)
    module, optimizer = accelerator.prepare(stage.module, optimizer)
    raw = accelerator.unwrap_model(module)
    average = Average([p for p in raw.parameters() if p.requires_grad], plan.ema_decay)
    state_path = folder / "state.pt"
    start = 0
    if state_path.is_file():
        state = torch.load(state_path, map_location=accelerator.device, weights_only=True)
        raw.load_state_dict(state["module"])
        optimizer.load_state_dict(state["optimizer"])
        for shadow, saved in zip(average.shadow, state["average"], strict=True):
            shadow.copy_(saved)
        start = state["step"]
    numbers = SampleNumbers(start, plan.steps, plan.batch, accelerator.process_index, accelerator.num_processes)
    loader = DataLoader(
        stage.samples,
        batch_sampler=numbers,
        collate_fn=stage.collate,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
    )

    def save(step: int) -> None:
        if accelerator.is_main_process:
            state = {
                "step": step,
                "module": raw.state_dict(),
                "optimizer": optimizer.state_dict(),
                "average": average.shadow,
            }
            write_atomically(state_path, lambda path: torch.save(state, path))

    folder.mkdir(parents=True, exist_ok=True)
    log_path = folder / "log.jsonl"
    _cut_log(log_path, start)
    step, saved_at, begun = start, time.monotonic(), time.monotonic()
    with _asked_to_stop() as stop:
        with log_path.open("a", encoding="utf-8") as log, _progress(accelerator.is_main_process) as progress:
            bar = progress.add_task(stage.name, total=plan.steps, completed=start)
            for batch in loader:
                factor = learning_rate(step, plan)
                for group in optimizer.param_groups:
                    group["lr"] = group["peak"] * factor
                stage.module.train()
                parts = module(batch.to(accelerator.device))
                loss = torch.stack([p for name, p in parts.items() if not name.startswith("_")]).sum()
                accelerator.backward(loss)
                norm = accelerator.clip_grad_norm_(module.parameters(), GRADIENT_NORM)
                if not math.isfinite(float(norm)):
                    raise ResourceError("train.diverged", stage=stage.name, step=step)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                average.update(step)
                step += 1
                line = {
                    "step": step,
                    "seconds": round(time.monotonic() - begun, 2),
                    "rate": factor,
                    "loss": float(loss.detach()),
                }
                line |= {"norm": float(norm)} | {name: round(float(part.detach()), 4) for name, part in parts.items()}
                if step % stage.measure_every == 0 or step == plan.steps:
                    line |= _measured(stage, average)
                if accelerator.is_main_process:
                    log.write(json.dumps(line) + "\n")
                    log.flush()
                    progress.update(bar, completed=step, description=f"{stage.name} loss {line['loss']:.3f}")
                now = time.monotonic()
                if now - saved_at > SAVE_EVERY_SECONDS:
                    save(step)
                    saved_at = now
                if step < plan.steps and _all_agree(accelerator, now > deadline or bool(stop)):
                    save(step)
                    if stop:
                        raise SystemExit(128 + stop[0])
                    return False
    save(step)
    average.swap()
    if accelerator.is_main_process:
        write_atomically(folder / "final.pt", lambda path: torch.save(raw.state_dict(), path))
    accelerator.wait_for_everyone()
    return True


@contextmanager
def _asked_to_stop() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM, to be obeyed between two steps: in the middle of one the state is a mixture."""
    received: list[int] = []
    names = (signal.SIGINT, signal.SIGTERM)
    before = {name: signal.signal(name, lambda number, _: received.append(number)) for name in names}
    try:
        yield received
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def _cut_log(path: Path, step: int) -> None:
    """Drop the lines of steps that will be run again."""
    if path.is_file():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)[:step]
        write_atomically(path, lambda temporary: temporary.write_text("".join(lines), encoding="utf-8"))


def _all_agree(accelerator: Accelerator, over: bool) -> bool:
    """Whether the slice is over on any process: all have to leave the loop at the same step."""
    if accelerator.num_processes == 1:
        return over
    told: Tensor = accelerator.reduce(torch.tensor(float(over), device=accelerator.device), reduction="sum")
    return bool(told.item() > 0)


def _groups(named: list[tuple[str, nn.Parameter]], stage: Stage, plan: StagePlan) -> list[dict[str, Any]]:
    groups = []
    for in_tower in (True, False):
        for decayed in (True, False):
            chosen = [p for n, p in named if n.startswith(stage.tower_prefix) == in_tower and (p.ndim > 1) == decayed]
            rate = plan.tower_learning_rate if in_tower else plan.learning_rate
            if chosen:
                decay = plan.weight_decay if decayed else 0.0
                groups.append({"params": chosen, "peak": rate, "lr": rate, "weight_decay": decay})
    return groups


def _measured(stage: Stage, average: Average) -> dict[str, float]:
    average.swap()
    stage.module.eval()
    try:
        return stage.measure()
    finally:
        average.swap()


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
