"""The language model in front of one image: a prompt goes in, the generated text comes out.

The image's prefix stays in the key/value cache from question to question while the text around the image stays the same.
It is always computed in a forward pass of its own, so a warm answer equals a cold one to the bit.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from medrega_edge.boxes import Geometry, GridBox
from medrega_edge.errors import PackageError, UsageError
from medrega_edge.inference.answer_search import AnswerTree
from medrega_edge.inference.decoder import Decoder
from medrega_edge.inference.decoding import Grammar, Step, generate_tokens
from medrega_edge.inference.grammars import NamedRegion, Prose, RegionGrammar
from medrega_edge.inference.prompt_lookup import MOST_TOKENS, LookupReader, TextMemory
from medrega_edge.inference.region_head import RegionHead, RegionMaps, boxes_of
from medrega_edge.inference.region_tokens import RegionTokens
from medrega_edge.inference.tokenizer import StreamDecoder, Tokenizer
from medrega_edge.package.package import PackageContents
from medrega_edge.prompts.templates import IMAGE_TOKEN, Prompt

if TYPE_CHECKING:
    from medrega_edge.inference.prefix_cache import PrefixCache

NPY_HEADER = 4096  # bytes; ours take 128
MOST_TREES = 8  # of known answers: all or those for yes and no, in two languages, and some choices


class ImageEmbeddings(Protocol):
    """An encoded image; two are the same only if they are one object."""

    @property
    def embeds(self) -> npt.NDArray[np.float32]:
        """`[tokens, hidden]`."""

    @property
    def maps(self) -> RegionMaps | None:
        """What a region head reads; None where the package has none."""

    @property
    def geometry(self) -> Geometry:
        """Size of the image, and its place in the square that the tower saw."""


@dataclass(frozen=True)
class Generation:
    """One generated text with its markup: `steps` lack the end token; `finish` is "stop" or "length".

    `box_scores` are the raw scores of the boxes that come from a region head, in the order of the text.
    """

    raw_text: str
    steps: tuple[Step, ...]
    finish: str
    prompt_tokens: int
    prefill_ms: float
    decode_ms: float
    box_scores: tuple[float, ...] = ()


class Wording(NamedTuple):
    """A choice in one language: the prompt, the candidates as token ids, and their log-priors."""

    prompt: Prompt
    candidates: Sequence[Sequence[int]]
    log_priors: Sequence[float]


class LanguageModel:
    """Generates text about one image at a time, under a grammar, and scores given texts.

    It has one key/value cache, so it is not thread-safe. `vocabulary` holds the token ids that grammars need.
    `forward_passes` counts the passes of the decoder so far. With `jump_forward` off, tokens that the grammar leaves no
    choice about cost a pass each; the text is the same. With a region head, no digit of a box is asked of the model. With
    `prompt_lookup`, free text is read several tokens at once where the package allows it; see `prompt_lookup.py`. With
    `prefixes`, the image's prefix comes from the disk if it is there.
    """

    def __init__(
        self,
        contents: PackageContents,
        decoder: Decoder,
        region_head: RegionHead | None = None,
        prefixes: PrefixCache | None = None,
    ) -> None:
        """Read tokenizer and embeddings; raises PackageError where they do not fit the manifest."""
        manifest = contents.package.manifest
        self._decoder = decoder
        self._region_head = region_head
        self._prefixes = prefixes
        self._tokenizer = Tokenizer(contents.text("tokenizer"))
        self._embeddings = _embeddings(contents)
        if self._tokenizer.id_of(IMAGE_TOKEN) != manifest.tokens.image or self._tokenizer.size > len(self._embeddings):
            raise PackageError("inference.tokenizer_not_as_in_manifest")
        self.vocabulary = RegionTokens.of(self._tokenizer, manifest.tokens.end)
        self.jump_forward = True
        self.prompt_lookup = True
        self._memory = TextMemory()
        self._rows_are_equal: bool | None = None  # until it was tried
        self.before_pass: Callable[[], None] = lambda: None  # may raise, which ends a generation: a server's client has left
        self._answers: dict[tuple[str, ...], tuple[AnswerTree, list[list[int]]]] = {}
        self._image_tokens = manifest.vision.tokens
        self._cached_image: ImageEmbeddings | None = None  # whose prefix is in the cache,
        self._cached_prefix = ("", "")  # between these texts
        self._prefix_length = 0

    @property
    def forward_passes(self) -> int:
        """Number of forward passes of the decoder so far."""
        return self._decoder.forward_passes

    @property
    def has_region_head(self) -> bool:
        """Whether boxes come from a region head."""
        return self._region_head is not None

    def strip_special_tokens(self, text: str) -> str:
        """Return a user's text without anything that spells a special token."""
        return self._tokenizer.strip_special_tokens(text)

    def forget(self) -> None:
        """Forget the texts from which `prompt_lookup` guesses. No answer depends on them."""
        self._memory = TextMemory()

    def encode_continuation(self, text: str, before: str) -> list[int]:
        """Return the ids of `text` as it follows `before`."""
        return self._tokenizer.encode_continuation(text, before)

    def generate(
        self,
        image: ImageEmbeddings,
        prompt: Prompt,
        grammar: Grammar,
        max_tokens: int,
        on_text: Callable[[str], None] | None = None,
    ) -> Generation:
        """Generate up to `max_tokens` tokens; `on_text` receives the text while it is generated.

        A region that is cut off at the end is left out, unless it was passed on already. Raises UsageError for a prompt
        that is too long.
        """
        begun = time.perf_counter()
        logits = self._prefill(image, prompt)
        prompt_tokens = self._decoder.length
        prefilled = time.perf_counter()
        stream = StreamDecoder(self._tokenizer, on_text) if on_text else None
        steps: list[Step] = []
        placer = None
        if self._region_head and image.maps and isinstance(grammar, RegionGrammar):
            placer = _BoxPlacer(self._region_head, self._decoder, image.maps, image.geometry, grammar)
        # No token behind the boxes of a named region is asked of the model, so they need no room in its context.
        is_fed = placer is None or not isinstance(grammar, NamedRegion) or not self.jump_forward
        limit = min(max_tokens, self._decoder.remaining_context) if is_fed else max_tokens
        end = self.vocabulary.end
        reader = self._lookup_reader(prompt, grammar)
        extend = reader.extend if reader else self._extend
        limit = min(limit, self._decoder.remaining_context - 1) if reader else limit
        for step in generate_tokens(logits, extend, grammar, end, limit, self.jump_forward, placer):
            steps.append(step)
            if stream:
                stream.push(step.token)
        if stream:
            stream.finish()
        cut = len(steps) >= limit or (placer is not None and placer.dropped > 0)
        if cut:
            steps = self._without_open_region(steps)
        done = time.perf_counter()
        return Generation(
            raw_text=self._tokenizer.decode([step.token for step in steps]),
            steps=tuple(steps),
            finish="length" if cut else "stop",
            prompt_tokens=prompt_tokens,
            prefill_ms=(prefilled - begun) * 1000,
            decode_ms=(done - prefilled) * 1000,
            box_scores=tuple(placer.scores) if placer else (),
        )

    def _lookup_reader(self, prompt: Prompt, grammar: Grammar) -> LookupReader | None:
        """Return what feeds the answer to a prompt that was just read; None where tokens go through as they are.

        A grammar that leaves little choice needs no guesses: it knows the tokens itself.
        """
        decoder = self._decoder
        if not (self.prompt_lookup and decoder.gives_rows) or decoder.remaining_context <= MOST_TOKENS:
            return None
        if isinstance(grammar, NamedRegion) or not isinstance(grammar, Prose | RegionGrammar):
            return None
        if self._region_head is not None and isinstance(grammar, RegionGrammar):
            return None  # the head reads the state of the last position, which would be that of a guess
        ids = self._tokenizer.encode(prompt.question)
        if not ids:
            return None
        if self._rows_are_equal is None:
            self._rows_are_equal = decoder.gives_equal_rows(self._embed((ids * MOST_TOKENS)[:MOST_TOKENS]))
        if not self._rows_are_equal:
            return None
        self._memory.add(ids)
        return LookupReader(decoder, self._pass_embeds, self._memory, self.vocabulary.end)

    def _without_open_region(self, steps: list[Step]) -> list[Step]:
        """Remove a region at the end whose list of boxes is not closed."""
        tokens = [step.token for step in steps]
        starts = [index for index, token in enumerate(tokens) if token == self.vocabulary.ref_open]
        if not starts or self.vocabulary.box_close in tokens[starts[-1] :]:
            return steps
        return steps[: starts[-1]]

    def choose_by_likelihood(self, image: ImageEmbeddings, wordings: Sequence[Wording]) -> tuple[Generation, int, float]:
        """Choose the candidate with the highest log-probability minus log-prior, in the mean over all wordings.

        Returns a generation that holds the candidate as the first wording spells it, its index, and its probability among
        the candidates. Raises UsageError for a prompt that is too long.
        """
        begun = time.perf_counter()
        prompt_tokens, prefill, scores = 0, 0.0, []
        for prompt, candidates, log_priors in wordings:
            started = time.perf_counter()
            logits = self._prefill(image, prompt)
            prompt_tokens += self._decoder.length
            prefill += time.perf_counter() - started
            scores.append(np.subtract(self._candidate_log_probs(logits, candidates), log_priors))
        mean = np.mean(scores, axis=0)
        best = int(np.argmax(mean))
        chosen = wordings[0].candidates[best]
        generation = Generation(
            raw_text=self._tokenizer.decode(list(chosen)),
            steps=tuple(map(Step, chosen)),
            finish="stop",
            prompt_tokens=prompt_tokens,
            prefill_ms=prefill * 1000,
            decode_ms=(time.perf_counter() - begun - prefill) * 1000,
        )
        return generation, best, float(1 / np.exp(mean - mean[best]).sum())

    def choose_answer(self, image: ImageEmbeddings, prompt: Prompt, answers: tuple[str, ...]) -> tuple[Generation, float]:
        """Choose the most probable of many known answers, which follow the prompt.

        Returns a generation that holds the answer, and its probability among all of them. Raises UsageError for a prompt
        that is too long.
        """
        begun = time.perf_counter()
        logits = self._prefill(image, prompt)
        prompt_tokens = self._decoder.length
        prefilled = time.perf_counter()
        if (tree_and_ids := self._answers.get(answers)) is None:
            ids = self._tokenizer.encode_continuations(answers, prompt.question)
            tree_and_ids = AnswerTree(ids, [answer.casefold() for answer in answers], self.vocabulary.end[0]), ids
            if len(self._answers) == MOST_TREES:
                self._answers.clear()
            self._answers[answers] = tree_and_ids
        tree, ids = tree_and_ids

        def read(path: Sequence[int]) -> npt.NDArray[np.float32]:
            if not path:
                return logits
            self._decoder.rewind(prompt_tokens)
            return self._extend(list(path))

        found = tree.search(read)
        generation = Generation(
            raw_text=answers[found.answer],
            steps=tuple(map(Step, ids[found.answer])),
            finish="stop",
            prompt_tokens=prompt_tokens,
            prefill_ms=(prefilled - begun) * 1000,
            decode_ms=(time.perf_counter() - prefilled) * 1000,
        )
        return generation, found.probability

    def sequence_log_probs(self, image: ImageEmbeddings, prompt: Prompt, candidates: Sequence[Sequence[int]]) -> list[float]:
        """Return the log-probability of each candidate (token ids) among all of them, its end included.

        Raises UsageError for a prompt that is too long.
        """
        return self._candidate_log_probs(self._prefill(image, prompt), candidates)

    def _candidate_log_probs(self, logits: npt.NDArray[np.float32], candidates: Sequence[Sequence[int]]) -> list[float]:
        """Walk the prefix tree of the candidates: one forward pass where some of them part.

        `logits` follow the prompt, which is the end of the cache. At each node the probabilities are normalised over the
        tokens with which candidates go on.
        """
        prompt_length = self._decoder.length
        sequences = [(*candidate, self.vocabulary.end[0]) for candidate in candidates]
        log_probs = [0.0] * len(sequences)

        def visit(depth: int, logits: npt.NDArray[np.float32], members: Sequence[int]) -> None:
            branches: dict[int, list[int]] = {}
            for member in members:
                branches.setdefault(sequences[member][depth], []).append(member)
            scores = {token: float(logits[token]) for token in branches}
            highest = max(scores.values())
            total = highest + math.log(sum(math.exp(score - highest) for score in scores.values()))
            for token, branch in branches.items():
                for member in branch:
                    log_probs[member] += scores[token] - total
                if len(branch) > 1:
                    shared = _common_prefix([sequences[member] for member in branch])
                    self._decoder.rewind(prompt_length)
                    visit(len(shared), self._extend(shared), branch)

        visit(0, logits, range(len(sequences)))
        return log_probs

    def _prefill(self, image: ImageEmbeddings, prompt: Prompt) -> npt.NDArray[np.float32]:
        """Put image and prompt into the cache, as far as they are not there yet; return the logits that follow."""
        before, after, ids = map(self._tokenizer.encode, (prompt.before, prompt.after, prompt.question))
        length = len(before) + self._image_tokens + len(after) + len(ids)
        if length >= self._decoder.spec.context:
            raise UsageError("inference.prompt_too_long")
        if self._cached_image is image and self._cached_prefix == (prompt.before, prompt.after):
            self._decoder.rewind(self._prefix_length)
        else:
            self._cached_image = None  # until the new prefix is whole: a user may interrupt
            self._cached_prefix = (prompt.before, prompt.after)
            self._load_prefix(image, before, after)
        return self._forward(self._embed_question(ids, image))

    def _embed_question(self, ids: list[int], image: ImageEmbeddings) -> npt.NDArray[np.float32]:
        """Embed a question; a box in it brings what the tower sees there, where the package has a region head."""
        embeds = self._embed(ids)
        if image.maps is not None:
            for end, boxes in self.vocabulary.box_lists(ids):
                embeds[end] += image.maps.pooled([image.geometry.to_square(box) for box in boxes])
        return embeds

    def _load_prefix(self, image: ImageEmbeddings, before: list[int], after: list[int]) -> None:
        self._decoder.rewind(0)
        prefix = np.concatenate([self._embed(before), image.embeds, self._embed(after)])
        if self._prefixes:
            self._prefixes.load_prefix(self._decoder, prefix, lambda: self._read_prefix(prefix))
        else:
            self._read_prefix(prefix)
        self._cached_image, self._prefix_length = image, len(prefix)

    def _read_prefix(self, prefix: npt.NDArray[np.float32]) -> None:
        self.before_pass()
        self._decoder.read_prefix(prefix)

    def _embed(self, ids: list[int]) -> npt.NDArray[np.float32]:
        return self._embeddings[np.asarray(ids, np.int64)].astype(np.float32)

    def _pass_embeds(self, ids: list[int]) -> npt.NDArray[np.float32]:
        self.before_pass()
        return self._embed(ids)

    def _extend(self, ids: list[int]) -> npt.NDArray[np.float32]:
        return self._forward(self._embed(ids))

    def _forward(self, embeds: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        self.before_pass()
        return self._decoder.extend(embeds)


class _BoxPlacer:
    """Asks a region head where a list of boxes has been opened, and gives its boxes to the grammar.

    `scores` are those of the boxes written so far; `dropped` is the number of boxes for which there was no room.
    """

    def __init__(
        self, head: RegionHead, decoder: Decoder, maps: RegionMaps, geometry: Geometry, grammar: RegionGrammar
    ) -> None:
        self._head, self._decoder, self._maps, self._geometry, self._grammar = head, decoder, maps, geometry, grammar
        self.scores: list[float] = []
        self.dropped = 0

    def __call__(self, room: int) -> None:
        """Place the boxes of one object within `room` tokens; raises PackageError as `RegionHead.ask`."""
        readings = self._head.ask(self._decoder.hidden_state, self._maps)
        found: dict[GridBox, float] = {}
        for box in boxes_of(readings, self._head.spec, self._geometry.extent):
            found.setdefault(self._geometry.from_square(box[:4]), box.score)
        tokens, fitting = self._grammar.vocabulary.spell(list(found), room)
        self._grammar.write_boxes(tokens)
        self.scores += list(found.values())[:fitting]
        self.dropped += len(found) - fitting


def _common_prefix(sequences: Sequence[Sequence[int]]) -> list[int]:
    """Return the tokens with which all sequences begin."""
    alike = takewhile(lambda tokens: len(set(tokens)) == 1, zip(*sequences, strict=False))
    return [tokens[0] for tokens in alike]


def _embeddings(contents: PackageContents) -> npt.NDArray[np.floating]:
    """Map the table `[vocabulary, hidden]`: only the rows that are used are read from the disk."""
    spec = contents.package.manifest.decoder
    head = io.BytesIO(contents.embeddings[:NPY_HEADER])
    npy_format: Any = np.lib.format  # it has no types
    try:
        if npy_format.read_magic(head) != (1, 0):
            raise ValueError("another version of the format")
        shape, by_column, dtype = npy_format.read_array_header_1_0(head)
    except (ValueError, EOFError):
        raise PackageError("inference.unreadable_embeddings") from None
    if shape != (spec.vocabulary, spec.hidden) or dtype not in (np.float16, np.float32) or by_column:
        raise PackageError("inference.embeddings_not_as_in_manifest")
    values = contents.embeddings[head.tell() :]
    if values.nbytes != spec.vocabulary * spec.hidden * dtype.itemsize:
        raise PackageError("inference.embeddings_not_as_in_manifest")
    return np.frombuffer(values, dtype).reshape(shape)
