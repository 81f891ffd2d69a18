"""How large a model, how long each stage: everything one may want to change about a training run, as data.

`nano` and `lite` are sized for two processor cores, `small` for one data-centre GPU, `smoke` and `lite-smoke` for a test of
seconds. `lite` and `lite-smoke` have a region head.
"""

from __future__ import annotations

from dataclasses import dataclass

from medrega_edge.evaluation.bootstrap import SEED


@dataclass(frozen=True)
class StagePlan:
    """One stage of training: `steps` of `batch` images, each with `questions` questions (language stages only)."""

    steps: int
    batch: int
    learning_rate: float
    tower_learning_rate: float = 0.0  # 0 freezes the tower (language stages)
    questions: int = 0
    warmup: int = 100
    weight_decay: float = 0.05
    ema_decay: float = 0.999


@dataclass(frozen=True)
class InternVit:
    """Shape of a vision tower that is trained from scratch; it goes without a region head."""

    patch_size: int
    width: int
    layers: int

    def grid(self, image_size: int) -> int:
        """Patches along an edge of the picture."""
        return image_size // self.patch_size


@dataclass(frozen=True)
class EfficientNet:
    """A vision tower that starts from ImageNet weights, with a region head; `token_grid` places along an edge."""

    variant: str
    token_grid: int

    def grid(self, image_size: int) -> int:
        """Places along an edge of the picture, whatever its size."""
        return self.token_grid


@dataclass(frozen=True)
class Preset:
    """Shape of the model and plan of its three stages."""

    image_size: int
    tower: InternVit | EfficientNet
    text_width: int
    text_layers: int
    text_mlp: int
    vocabulary: int
    dense: StagePlan
    align: StagePlan
    instruct: StagePlan
    pool: int  # views whose features the language stages draw from while the tower is frozen
    head_width: int = 64  # of every attention head; divides both widths
    context: int = 1024
    seed: int = SEED

    @property
    def grid(self) -> int:
        """Places of the tower along an edge of the picture. Four become a token of the language model."""
        return self.tower.grid(self.image_size)

    @property
    def image_tokens(self) -> int:
        """Length of an image in the language model's sequence."""
        return (self.grid // 2) ** 2


PRESETS = {
    "nano": Preset(
        image_size=256,
        tower=InternVit(patch_size=16, width=192, layers=8),
        text_width=256,
        text_layers=4,
        text_mlp=768,
        vocabulary=2048,
        dense=StagePlan(steps=3000, batch=48, learning_rate=5.0e-4, tower_learning_rate=4.0e-4, ema_decay=0.998),
        align=StagePlan(steps=60, batch=64, learning_rate=1.0e-3, questions=3, warmup=20, ema_decay=0.98),
        instruct=StagePlan(steps=1600, batch=64, learning_rate=7.0e-4, questions=3, warmup=40, ema_decay=0.997),
        pool=20_000,
    ),
    "lite": Preset(
        image_size=384,
        tower=EfficientNet("lite2", token_grid=16),
        text_width=256,
        text_layers=4,
        text_mlp=768,
        vocabulary=2560,
        dense=StagePlan(steps=8000, batch=16, learning_rate=1.0e-3, tower_learning_rate=1.5e-4),
        align=StagePlan(steps=80, batch=64, learning_rate=1.0e-3, questions=3, warmup=20, ema_decay=0.98),
        instruct=StagePlan(steps=2900, batch=64, learning_rate=7.0e-4, questions=3, warmup=40, ema_decay=0.997),
        pool=10_000,
    ),
    "small": Preset(
        image_size=320,
        tower=InternVit(patch_size=16, width=384, layers=12),
        text_width=384,
        text_layers=8,
        text_mlp=1152,
        vocabulary=2048,
        dense=StagePlan(steps=6000, batch=128, learning_rate=8.0e-4, tower_learning_rate=8.0e-4),
        align=StagePlan(steps=300, batch=64, learning_rate=1.0e-3, questions=8, warmup=50, ema_decay=0.99),
        instruct=StagePlan(steps=5000, batch=128, learning_rate=6.0e-4, tower_learning_rate=1.0e-4, questions=3),
        pool=8_000,
    ),
    "smoke": Preset(
        image_size=64,
        tower=InternVit(patch_size=16, width=64, layers=2),
        text_width=64,
        text_layers=2,
        text_mlp=128,
        vocabulary=512,
        dense=StagePlan(steps=4, batch=4, learning_rate=1e-3, tower_learning_rate=1e-3, warmup=1),
        align=StagePlan(steps=2, batch=2, learning_rate=1e-3, questions=2, warmup=1),
        instruct=StagePlan(steps=4, batch=2, learning_rate=1e-3, tower_learning_rate=1e-4, questions=2, warmup=1),
        pool=24,
        head_width=32,
    ),
    "lite-smoke": Preset(
        image_size=64,
        tower=EfficientNet("lite2", token_grid=8),
        text_width=64,
        text_layers=2,
        text_mlp=128,
        vocabulary=512,
        dense=StagePlan(steps=3, batch=2, learning_rate=1e-3, tower_learning_rate=1e-4),
        align=StagePlan(steps=2, batch=2, learning_rate=1e-3, questions=2, warmup=1),
        instruct=StagePlan(steps=2, batch=2, learning_rate=1e-3, questions=2, warmup=1),
        pool=24,
        head_width=32,
    ),
}
