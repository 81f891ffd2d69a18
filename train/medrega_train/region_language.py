"""The language model beside a frozen tower with a region head: it writes words, the head writes coordinates.

Where the first coordinate of an object follows, the language model's state is the head's query. So the digits themselves
are no targets of the language model; it sees them where words follow. A box in a question is more than its digits: what the
tower sees there, pooled, is added to the embedding of the token that closes it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import InternVLForConditionalGeneration

from medrega_train.dense_head import IGNORE
from medrega_train.language import attention_mask
from medrega_train.language_samples import LanguageBatch
from medrega_train.lite_vision import joined
from medrega_train.region_head import RegionHead, RegionLogits
from medrega_train.region_targets import region_losses

REGION_WEIGHT = 0.6
LABEL_SMOOTHING = 0.03  # the questions of 578 images are easily learnt by heart


class RegionLanguageModule(nn.Module):
    """Language model, projector and the head's query part learn; the tower and what the head reads of it stand still."""

    def __init__(self, model: InternVLForConditionalGeneration, head: RegionHead) -> None:
        """`model` has an EfficientNet-Lite tower."""
        super().__init__()
        self.model = model
        self.head = head
        self.pooled_region = nn.Linear(head.place_norm.normalized_shape[0], model.config.text_config.hidden_size)
        nn.init.zeros_(self.pooled_region.weight)  # at first a box is its digits
        nn.init.zeros_(self.pooled_region.bias)
        model.model.vision_tower.requires_grad_(False)
        for name, parameter in head.named_parameters():
            parameter.requires_grad_(
                name.startswith(("query.", "readers.", "directions.", "presence.", "centre_", "inside_"))
            )

    def forward(self, batch: LanguageBatch) -> dict[str, Tensor]:
        """Return the parts of the loss."""
        assert batch.features is not None and batch.query is not None and batch.regions is not None
        assert batch.shown is not None and batch.shares is not None
        tokens, places, fine = (batch.features[name].float() for name in ("tokens", "places", "fine"))
        rows, ends = batch.shown.unbind(1)
        pooled = self.pooled_region(torch.einsum("kp,kpw->kw", batch.shares, places[rows]))
        states = self.states(tokens, batch.ids, batch.segment, batch.position, (rows, ends, pooled))
        is_word = (batch.target != IGNORE) & (batch.value < 0)
        scores = self.model.lm_head(states[is_word]).float()
        parts = {"words": F.cross_entropy(scores, batch.target[is_word], label_smoothing=LABEL_SMOOTHING)}
        each = torch.arange(len(states), device=states.device)[:, None]
        regions = region_losses(self.head.answer(places, fine, states[each, batch.query.clamp(min=0)]), batch.regions)
        return parts | {name: REGION_WEIGHT * part for name, part in regions.items()}

    def states(
        self,
        tokens: Tensor,
        ids: Tensor,
        segment: Tensor,
        position: Tensor,
        added: tuple[Tensor, Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Image tokens `[B, tokens, width]` and sequences `[B, T]` -> normed states `[B, T, hidden]`.

        `added` are rows, positions and vectors `[K, hidden]` that are added to the embeddings there.
        """
        core = self.model.model
        image = core.multi_modal_projector(tokens)
        embeds = core.language_model.embed_tokens(ids)
        embeds = embeds.masked_scatter((ids == self.model.config.image_token_id)[..., None], image.to(embeds.dtype))
        if added is not None:
            embeds = embeds.index_put(added[:2], added[2].to(embeds.dtype), accumulate=True)  # bfloat16 under autocast
        mask = attention_mask(segment, embeds.dtype)
        found: Tensor = core.language_model(
            inputs_embeds=embeds, attention_mask=mask, position_ids=position, use_cache=False
        ).last_hidden_state
        return found

    @torch.no_grad()
    def encode(self, pixel_values: Tensor) -> dict[str, Tensor]:
        """Encode pictures `[B, 3, S, S]`: `tokens` for the language model, `places` and the `fine` map for the head."""
        core = self.model.model
        maps = core.vision_tower.maps(pixel_values)
        grid = core.vision_tower.config.token_grid
        patches = joined(maps, grid).unflatten(1, (grid, grid))
        shuffled = core.pixel_shuffle(patches, self.model.config.downsample_ratio)
        places, fine = self.head.read(maps)
        return {"tokens": shuffled.flatten(1, 2), "places": places, "fine": fine}

    @torch.no_grad()
    def locate(self, pixel_values: Tensor, prefix: list[int], openings: list[list[int]]) -> RegionLogits:
        """Ask the head once about each of N pictures: `openings` are the tokens of question and answer up to the boxes."""
        features = self.encode(pixel_values)
        rows = [prefix + tokens for tokens in openings]
        length = max(map(len, rows))
        ids = torch.tensor([row + [row[-1]] * (length - len(row)) for row in rows], device=pixel_values.device)
        position = torch.arange(length, device=ids.device).expand(len(rows), length)
        states = self.states(features["tokens"], ids, torch.zeros_like(ids), position)
        last = torch.tensor([len(row) - 1 for row in rows], device=ids.device)
        queries = states[torch.arange(len(rows), device=ids.device), last][:, None]
        return self.head.answer(features["places"], features["fine"], queries)
