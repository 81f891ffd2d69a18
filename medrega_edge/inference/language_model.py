"""The language model in front of one image: a prompt goes in, what it writes comes out, token by token.

Knows token embeddings, the decoder's cache, grammars and the stream of text; knows no task, no language and no file. The
image's prefix stays in the cache from question to question while the text around the image stays the same, always computed
in a pass of its own, so a warm answer equals a cold one to the bit.
"""

from __future__ import annotations

import io
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from medrega_edge.errors import PackageError, UsageError
from medrega_edge.inference.decoder import Decoder
from medrega_edge.inference.decoding import Grammar, Step, generate
from medrega_edge.inference.grammars import Vocabulary
from medrega_edge.inference.tokenizer import StreamDecoder, Tokenizer
from medrega_edge.package.package import PackageContents
from medrega_edge.prompts.templates import IMAGE_TOKEN, Prompt

NPY_HEADER = 4096  # bytes; ours take 128


class ImageEmbeddings(Protocol):
    """An image as the language model sees it; compared by identity."""

    @property
    def embeds(self) -> npt.NDArray[np.float32]:
        """`[tokens, hidden]`."""


@dataclass(frozen=True)
class Generation:
    """What was written: `steps` without the end token; `finish` is "stop" or "length"."""

    raw: str
    steps: tuple[Step, ...]
    finish: str
    prompt_tokens: int
    prefill_ms: float
    decode_ms: float


class LanguageModel:
    """One key/value cache, so not thread-safe."""

    def __init__(self, contents: PackageContents, decoder: Decoder) -> None:
        """Read tokenizer and embeddings; raises PackageError where they do not fit the manifest."""
        manifest = contents.package.manifest
        self._decoder = decoder
        self.tokenizer = Tokenizer(contents.text("tokenizer"))
        self._embeddings = _embeddings(contents)
        if self.tokenizer.id_of(IMAGE_TOKEN) != manifest.tokens.image or self.tokenizer.size > len(self._embeddings):
            raise PackageError("The manifest and the tokenizer of the model package do not fit each other.")
        self.vocabulary = Vocabulary.of(self.tokenizer, manifest.tokens.end)
        self._image_tokens = manifest.vision.tokens
        self.jump_forward = True
        self._seen: ImageEmbeddings | None = None  # whose prefix lies in the cache, with
        self._cached_prefix = ("", "")  # these texts before and after it
        self._prefix_length = 0

    @property
    def passes(self) -> int:
        """Forward passes of the language model so far, for measurements."""
        return self._decoder.passes

    def say(
        self,
        image: ImageEmbeddings,
        prompt: Prompt,
        grammar: Grammar,
        limit: int,
        on_text: Callable[[str], None] | None = None,
    ) -> Generation:
        """Write up to `limit` tokens behind the image and `prompt`; raises UsageError for a prompt that is too long."""
        begun = time.perf_counter()
        logits = self._ask(image, prompt)
        prompt_tokens = self._decoder.length
        prefilled = time.perf_counter()
        limit = min(limit, self._decoder.remaining_context)
        stream = StreamDecoder(self.tokenizer, on_text) if on_text else None
        steps: list[Step] = []
        for step in generate(logits, self._extend, grammar, self.vocabulary.end, limit, self.jump_forward):
            steps.append(step)
            if stream:
                stream.push(step.token)
        if stream:
            stream.finish()
        cut = len(steps) >= limit
        if cut:
            steps = self._without_open_region(steps)
        done = time.perf_counter()
        return Generation(
            raw=self.tokenizer.decode([step.token for step in steps]),
            steps=tuple(steps),
            finish="length" if cut else "stop",
            prompt_tokens=prompt_tokens,
            prefill_ms=(prefilled - begun) * 1000,
            decode_ms=(done - prefilled) * 1000,
        )

    def _without_open_region(self, steps: list[Step]) -> list[Step]:
        """What was written, without a region at its end that is not whole."""
        tokens = [step.token for step in steps]
        opened = [place for place, token in enumerate(tokens) if token == self.vocabulary.ref_open]
        if not opened or self.vocabulary.box_close in tokens[opened[-1] :]:
            return steps
        return steps[: opened[-1]]

    def pick(
        self, image: ImageEmbeddings, prompt: Prompt, candidates: Sequence[Sequence[int]], levels: Sequence[float]
    ) -> tuple[Generation, int, float]:
        """Take the candidate that weighs most, its level taken off: as if it were written, which, and its share.

        Raises UsageError for a prompt that is too long.
        """
        begun = time.perf_counter()
        logits = self._ask(image, prompt)
        prompt_tokens = self._decoder.length
        prefilled = time.perf_counter()
        freed = np.subtract(self._candidate_log_probs(logits, candidates), levels)
        best = int(np.argmax(freed))
        said = Generation(
            raw=self.tokenizer.decode(list(candidates[best])),
            steps=tuple(map(Step, candidates[best])),
            finish="stop",
            prompt_tokens=prompt_tokens,
            prefill_ms=(prefilled - begun) * 1000,
            decode_ms=(time.perf_counter() - prefilled) * 1000,
        )
        return said, best, float(1 / np.exp(freed - freed[best]).sum())

    def weigh(self, image: ImageEmbeddings, prompt: Prompt, candidates: Sequence[Sequence[int]]) -> list[float]:
        """Log-probability of each candidate with its end, parted among all of them; raises UsageError as `pick` does."""
        return self._candidate_log_probs(self._ask(image, prompt), candidates)

    def _candidate_log_probs(self, logits: npt.NDArray[np.float32], candidates: Sequence[Sequence[int]]) -> list[float]:
        """What each candidate weighs behind what was asked, whose logits these are; one pass wherever candidates part."""
        asked = self._decoder.length
        whole = [(*candidate, self.vocabulary.end[0]) for candidate in candidates]
        weights = [0.0] * len(whole)

        def part(path: tuple[int, ...], logits: npt.NDArray[np.float32], members: Sequence[int]) -> None:
            following: dict[int, list[int]] = {}
            for member in members:
                following.setdefault(whole[member][len(path)], []).append(member)
            scores = {token: float(logits[token]) for token in following}
            most = max(scores.values())
            together = most + math.log(sum(math.exp(score - most) for score in scores.values()))
            for token, those in following.items():
                for member in those:
                    weights[member] += scores[token] - together
                if len(those) > 1:
                    shared = tuple(os.path.commonprefix([whole[member] for member in those]))
                    self._decoder.rewind(asked)
                    part(shared, self._extend(list(shared)), those)

        part((), logits, range(len(whole)))
        return weights

    def _ask(self, image: ImageEmbeddings, prompt: Prompt) -> npt.NDArray[np.float32]:
        """Put image and prompt into the cache, as much as is not there yet; the logits behind them."""
        before, after, ids = map(self.tokenizer.encode, (prompt.before, prompt.after, prompt.question))
        taken = len(before) + self._image_tokens + len(after) + len(ids)
        if taken >= self._decoder.spec.context:
            raise UsageError("The question is too long for this model package; ask a shorter one.")
        if self._seen is image and self._cached_prefix == (prompt.before, prompt.after):
            self._decoder.rewind(self._prefix_length)
        else:
            self._load_prefix(image, before, after)
            self._cached_prefix = (prompt.before, prompt.after)
        return self._extend(ids)

    def _load_prefix(self, image: ImageEmbeddings, before: list[int], after: list[int]) -> None:
        self._decoder.rewind(0)
        self._seen = None
        prefix = np.concatenate([self._embed(before), image.embeds, self._embed(after)])
        self._decoder.extend(prefix)
        self._seen, self._prefix_length = image, len(prefix)

    def _embed(self, ids: list[int]) -> npt.NDArray[np.float32]:
        return self._embeddings[np.asarray(ids, np.int64)].astype(np.float32)

    def _extend(self, ids: list[int]) -> npt.NDArray[np.float32]:
        return self._decoder.extend(self._embed(ids))


def _embeddings(contents: PackageContents) -> npt.NDArray[np.floating]:
    """The table `[vocabulary, hidden]`, of which only the rows that are looked up are read from the disk."""
    spec = contents.package.manifest.decoder
    head = io.BytesIO(contents.embeddings[:NPY_HEADER])
    form: Any = np.lib.format  # without types
    try:
        if form.read_magic(head) != (1, 0):
            raise ValueError("no such version is written")
        shape, by_column, dtype = form.read_array_header_1_0(head)
    except (ValueError, EOFError):
        raise PackageError("The embeddings of the model package cannot be read; get the package again.") from None
    if shape != (spec.vocabulary, spec.hidden) or dtype not in (np.float16, np.float32) or by_column:
        raise PackageError("The embeddings of the model package do not fit its manifest; get the package again.")
    values = contents.embeddings[head.tell() :]
    if values.nbytes != spec.vocabulary * spec.hidden * dtype.itemsize:
        raise PackageError("The embeddings of the model package do not fit its manifest; get the package again.")
    return np.frombuffer(values, dtype).reshape(shape)
