"""The language model of a model without a region head learns to answer, and to write boxes digit by digit.

Coordinates are learnt with a soft target: a box that is off by three thousandths is nearly right, and the loss says so,
digit by digit.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import InternVLForConditionalGeneration

from medrega_edge.boxes import GRID_MAX
from medrega_train.dense_head import IGNORE, DenseHead, dense_losses
from medrega_train.language_samples import DIGITS, Encoder, LanguageBatch

STOP = DIGITS  # "the number ends here", the eleventh outcome after the ten digits
LONGEST = len(str(GRID_MAX))
COORDINATE_SPREAD = 8.0  # grid steps; scale of the Laplace distribution around the true coordinate
DENSE_WEIGHT = 0.5  # of stage 0's loss while everything trains, so that the tower forgets nothing
WORD_WEIGHT = 2.5  # a box has twelve uncertain digits, an answer may be one word


def coordinate_targets(spread: float = COORDINATE_SPREAD) -> npt.NDArray[np.float32]:
    """Return a table `[1000, 4, 11]`: the probability of each next digit, or of the end, after the first j true digits.

    A coordinate u has the weight exp(-|u - v| / spread) where v is true; the table spells that distribution in decimal.
    """
    spelt = [str(u) for u in range(GRID_MAX + 1)]
    table = np.zeros((GRID_MAX + 1, LONGEST + 1, DIGITS + 1), np.float32)
    following: dict[str, list[tuple[int, int]]] = {}  # prefix -> (coordinate, outcome after it)
    for coordinate, text in enumerate(spelt):
        for j in range(len(text) + 1):
            following.setdefault(text[:j], []).append((coordinate, int(text[j]) if j < len(text) else STOP))
    after = {prefix: tuple(np.array(column) for column in zip(*rows, strict=True)) for prefix, rows in following.items()}
    for v, text in enumerate(spelt):
        for j in range(len(text) + 1):
            u, outcome = after[text[:j]]
            np.add.at(table[v, j], outcome, np.exp(-np.abs(u - v) / spread))
            table[v, j] /= table[v, j].sum()
    return table


def attention_mask(segment: Tensor, dtype: torch.dtype) -> Tensor:
    """Additive mask `[B, 1, T, T]`: causal, and a question sees the prefix and itself only."""
    length = segment.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=segment.device).tril()
    same = segment[:, :, None] == segment[:, None, :]
    seen = causal & (same | (segment == 0)[:, None, :])
    return torch.zeros_like(seen, dtype=dtype).masked_fill(~seen, torch.finfo(dtype).min)[:, None]


class LanguageModule(nn.Module):
    """The whole model, and stage 0's head, whose loss keeps the tower from forgetting."""

    def __init__(self, model: InternVLForConditionalGeneration, head: DenseHead, encoder: Encoder) -> None:
        """`head` is that of stage 0."""
        super().__init__()
        self.model = model
        self.head = head
        self.register_buffer("table", torch.from_numpy(coordinate_targets()), persistent=False)
        self.register_buffer("digits", torch.tensor(encoder.digit_ids), persistent=False)

    def tower_trains(self, trains: bool) -> None:
        """Whether the tower trains along or stays as it is."""
        self.model.model.vision_tower.requires_grad_(trains)
        self.head.requires_grad_(trains)

    def forward(self, batch: LanguageBatch) -> dict[str, Tensor]:
        """Return the parts of the loss; names with a leading underscore are only logged."""
        core = self.model.model
        if batch.dense is not None:
            hidden = core.vision_tower(pixel_values=batch.dense.pixel_values).last_hidden_state
            features = self.shuffle(hidden)
        else:
            assert batch.features is not None
            features = batch.features["tokens"].to(core.multi_modal_projector.linear_1.weight.dtype)
        image = core.multi_modal_projector(features)
        embeds = core.language_model.embed_tokens(batch.ids)
        slots = batch.ids == self.model.config.image_token_id
        embeds = embeds.masked_scatter(slots[..., None], image.to(embeds.dtype))
        states = core.language_model(
            inputs_embeds=embeds,
            attention_mask=attention_mask(batch.segment, embeds.dtype),
            position_ids=batch.position,
            use_cache=False,
        ).last_hidden_state
        is_target = batch.target != IGNORE
        logits = self.model.lm_head(states[is_target]).float()
        parts = self._language_losses(logits, batch.target[is_target], batch.value[is_target], batch.place[is_target])
        if batch.dense is not None:
            dense = dense_losses(self.head, hidden, batch.dense)
            parts["dense"] = DENSE_WEIGHT * torch.stack(list(dense.values())).sum()
        return parts

    def shuffle(self, hidden: Tensor) -> Tensor:
        """Pixel shuffle, as transformers does it: tower states `[B, 1 + P, C]` -> features `[B, P / 4, 4 C]`."""
        patches = hidden[:, 1:]
        side = int(patches.shape[1] ** 0.5)
        grid = self.model.model.pixel_shuffle(
            patches.reshape(len(patches), side, side, -1), self.model.config.downsample_ratio
        )
        return grid.reshape(len(patches), -1, grid.shape[-1])

    @torch.no_grad()
    def encode(self, pixel_values: Tensor) -> dict[str, Tensor]:
        """Encode pictures `[B, 3, S, S]` as `tokens` `[B, P / 4, 4 C]`."""
        return {"tokens": self.shuffle(self.model.model.vision_tower(pixel_values=pixel_values).last_hidden_state)}

    def _language_losses(self, logits: Tensor, target: Tensor, value: Tensor, place: Tensor) -> dict[str, Tensor]:
        log_p = logits.log_softmax(dim=-1)
        spelt = value >= 0
        soft = self.table[value[spelt], place[spelt]]  # [K, 11]
        # Where a number ends, the target is the end token; inside a number no end token is right.
        ends = target[spelt]
        at = log_p[spelt]
        by_digit = at[:, self.digits]
        is_digit = (ends[:, None] == self.digits[None]).any(dim=1)
        end_log_p = torch.where(is_digit, torch.zeros_like(by_digit[:, 0]), at.gather(1, ends[:, None])[:, 0])
        share = soft.clone()
        share[:, STOP] = torch.where(is_digit, torch.zeros_like(share[:, STOP]), share[:, STOP])
        share = share / share.sum(dim=1, keepdim=True)
        coordinate = -(share[:, :DIGITS] * by_digit).sum(dim=1) - share[:, STOP] * end_log_p
        words = F.nll_loss(log_p[~spelt], target[~spelt], reduction="sum")
        total = max(1, len(target))
        return {"coordinates": coordinate.sum() / total, "words": WORD_WEIGHT * words / total}

    @torch.no_grad()
    def write_boxes(
        self, pixel_values: Tensor, prefix: list[int], openings: list[list[int]], separators: list[int]
    ) -> Tensor:
        """Let the model write one box for each of N images, greedily: `[N, 4]` grid integers.

        `openings` are, for each image, the tokens of the question and of its answer up to the first coordinate. The two
        `separators` are the tokens after the first three coordinates and after the fourth.
        """
        core = self.model.model
        image = core.multi_modal_projector(self.encode(pixel_values)["tokens"])
        rows = [prefix + tokens for tokens in openings]
        boxes: list[list[int]] = [[] for _ in rows]
        spelt: list[str] = ["" for _ in rows]
        while any(len(box) < 4 for box in boxes):
            length = max(len(row) for row in rows)
            ids = torch.tensor([row + [row[-1]] * (length - len(row)) for row in rows], device=image.device)
            embeds = core.language_model.embed_tokens(ids)
            embeds = embeds.masked_scatter((ids == self.model.config.image_token_id)[..., None], image.to(embeds.dtype))
            states = core.language_model(inputs_embeds=embeds, use_cache=False).last_hidden_state
            last = states[torch.arange(len(rows)), torch.tensor([len(row) - 1 for row in rows])]
            logits = self.model.lm_head(last).float()
            for i, row in enumerate(rows):
                if len(boxes[i]) == 4:
                    continue
                separator = separators[len(boxes[i]) == 3]
                choices = torch.cat([logits[i, self.digits], logits[i, separator : separator + 1]])
                full = len(spelt[i]) == LONGEST or spelt[i] == "0"
                if not spelt[i]:
                    choices[STOP] = -torch.inf
                chosen = STOP if full else int(choices.argmax())
                if chosen == STOP:
                    boxes[i].append(int(spelt[i]))
                    spelt[i] = ""
                    row.append(separator)
                else:
                    spelt[i] += str(chosen)
                    row.append(int(self.digits[chosen]))
        return torch.tensor(boxes)
