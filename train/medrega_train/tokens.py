"""A byte-level BPE tokenizer trained on our own texts in both languages.

Every digit is its own token, so a coordinate is read digit by digit and every number is spelt the same way. The region
markers are single tokens. A Chinese character is one too, so that a name is spelt alike in every sentence. Runs of
punctuation such as `, ` and `]]` stay whole, so that a box costs few steps.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from medrega_edge.prompts.region_markup import MARKERS
from medrega_edge.prompts.templates import IMAGE_TOKEN

PAD, START, END = "<pad>", "<|im_start|>", "<|im_end|>"
SPECIAL = (PAD, START, END, "<img>", "</img>", IMAGE_TOKEN, *MARKERS)
MULTIPLE = 32  # quantisation and kernels want it


def token_id(tokenizer: Tokenizer, token: str) -> int:
    """Return the id of a token; raises KeyError where the tokenizer does not have it."""
    number = tokenizer.token_to_id(token)
    if number is None:
        raise KeyError(token)
    return number


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Train on texts; the vocabulary never exceeds `vocabulary`, and is padded to a multiple of 32 when short of it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[\p{N}\p{Han}]"), "isolated"),
            pre_tokenizers.Split(Regex(r" ?\p{L}+|[^\p{L}\p{N}]+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    marker = re.compile("|".join(re.escape(token) for token in SPECIAL))  # the trainer does not cut them out by itself
    tokenizer.train_from_iterator((part for text in texts for part in marker.split(text)), trainer)
    short = -tokenizer.get_vocab_size() % MULTIPLE
    tokenizer.add_special_tokens([AddedToken(f"<unused{i}>", special=True, normalized=False) for i in range(short)])
    return tokenizer
