"""A stage of seconds, as a program for `accelerate launch`: `tiny_stage.py FOLDER BATCH [STEPS UNTIL IT IS KILLED]`.

Every step is saved.
"""

import os
import signal
import sys
import time
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn

from medrega_train import loop
from medrega_train.presets import StagePlan

STEPS, SIZE = 12, 6


class Samples(torch.utils.data.Dataset):
    def __len__(self):
        return 1000

    def __getitem__(self, number):
        generator = torch.Generator().manual_seed(number)
        return torch.randn(SIZE, generator=generator)


class Fit(nn.Module):
    """Fits the sum of a sample."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.net = nn.Sequential(nn.Linear(SIZE, 8), nn.GELU(), nn.Linear(8, 1))

    def forward(self, batch):
        return {"loss": ((self.net(batch)[:, 0] - batch.sum(dim=1)) ** 2).mean()}


def main():
    folder, batch = Path(sys.argv[1]), int(sys.argv[2])
    module, loop.SAVE_EVERY_SECONDS = Fit(), 0.0
    probe = torch.stack([Samples()[number] for number in range(900, 964)])

    left = [int(sys.argv[3])] if len(sys.argv) > 3 else [-1]

    def measure():
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        with torch.no_grad():
            return {"probe": float(module(probe)["loss"])}

    plan = StagePlan(steps=STEPS, batch=batch, learning_rate=0.01, warmup=2, ema_decay=0.5)
    stage = loop.Stage("tiny", module, Samples(), torch.stack, plan, measure, measure_every=1)
    loop.run_stage(stage, folder, Accelerator(cpu=True), deadline=time.monotonic() + 600, workers=0)


if __name__ == "__main__":
    main()
