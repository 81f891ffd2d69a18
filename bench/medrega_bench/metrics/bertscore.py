"""BERTScore with a language model on the user's disk: how alike two texts are in meaning.

The model is a folder that transformers can read; nothing is downloaded. Each token of one text is matched to the most
similar token of the other by the cosine of their embeddings in the last layer. Published figures often use a chosen inner
layer, so only figures of one model, made here, may be compared. Figures are not rescaled: unrelated texts are far above 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medrega_bench.evaluation.figures import Measured, Pair, ratios
from medrega_edge.errors import ResourceError, UsageError

Vectors = npt.NDArray[np.float32]  # [tokens, hidden], each of length 1

NAMES = ("bertscore_precision", "bertscore_recall", "bertscore_f1")


class Embedder:
    """A text -> the embeddings of its tokens, of length 1, without the tokens that mark beginning and end."""

    def __init__(self, folder: Path) -> None:
        """Load the model; raises UsageError with the reason when that cannot be done, ResourceError without torch."""
        try:
            import torch
            from transformers import AutoModel, AutoTokenizer
            from transformers.utils.logging import disable_progress_bar
        except ImportError:
            raise ResourceError("bench.no_torch") from None
        if not (folder / "config.json").is_file():
            raise UsageError("bench.no_language_model", folder=folder.name)
        disable_progress_bar()
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            self._model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval()
        except Exception as error:  # whatever a foreign folder makes of it
            raise UsageError("bench.language_model_broken", folder=folder.name, type=type(error).__name__) from None
        self._most = min(
            self._tokenizer.model_max_length, getattr(self._model.config, "max_position_embeddings", 514) - 2
        )  # some count two positions more than they have
        self.cut = 0

    def __call__(self, text: str) -> Vectors:
        """Return the embeddings [tokens, hidden]; what is too long for the model is cut off, and counted in `cut`."""
        import torch

        ids = self._tokenizer(text, return_special_tokens_mask=True, truncation=True, max_length=self._most)
        self.cut += len(self._tokenizer(text, verbose=False)["input_ids"]) > len(ids["input_ids"])
        with torch.inference_mode():
            hidden = self._model(input_ids=torch.tensor([ids["input_ids"]])).last_hidden_state[0].numpy()
        words = hidden[np.array(ids["special_tokens_mask"]) == 0]
        made: Vectors = words / np.maximum(np.linalg.norm(words, axis=1, keepdims=True), 1e-9)
        return made


def greedy(answer: Vectors, truth: Vectors) -> tuple[float, float, float]:
    """Precision, recall, F1: mean best cosine of the answer's tokens, of the truth's, and their harmonic mean."""
    if not len(answer) or not len(truth):
        return 0.0, 0.0, 0.0
    alike = answer @ truth.T
    precision, recall = float(alike.max(axis=1).mean()), float(alike.max(axis=0).mean())
    both = precision + recall
    return precision, recall, 2 * precision * recall / both if both > 0 else 0.0


def bert_score(pairs: Sequence[Pair], embed: Callable[[str], Vectors]) -> Measured:
    """BERTScore, means over items; `embed` turns a text into vectors, see `Embedder`."""
    rows = [greedy(embed(pair.answer), embed(pair.truth)) for pair in pairs]
    return ratios([{name: (value, 1.0) for name, value in zip(NAMES, row, strict=True)} for row in rows])
