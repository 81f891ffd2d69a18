"""What jump-forward and prompt lookup save at the size of a larger model: reports, with both and token by token, in turn.

Random weights write noise, which says nothing about how often a text repeats itself. So the reports are given: the program's
own sentences, about names and boxes drawn at random. Every pass is computed as usual; then the given token gets the largest
logit, so a guess is right where the text really goes on like an earlier one.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from medrega_bench.performance.spread import Spread, quotients
from medrega_edge.boxes import GRID_MAX, Geometry
from medrega_edge.domain import Language, Modality, Task
from medrega_edge.inference.decoder import Decoder, Floats
from medrega_edge.inference.decoding import Grammar
from medrega_edge.inference.devices import decoder_threads
from medrega_edge.inference.grammars import Prose, RegionGrammar
from medrega_edge.inference.language_model import Generation, LanguageModel
from medrega_edge.package.package import Package
from medrega_edge.prompts.region_markup import BOX_CLOSE, BOX_OPEN, REF_CLOSE, REF_OPEN
from medrega_edge.prompts.templates import REPORT_QUESTION, Prompt, PromptBook
from medrega_edge.tasks.report_sentences import Sentence, write
from medrega_edge.vocabulary.label_sets import BODY_PARTS

REPORTS, ROUNDS = 8, 3
NAMES = (3, 6)  # of a report, at least and at most
MAX_TOKENS = 512
PAUSE_SECONDS = 0.1  # threads that have just worked wait by spinning for a while
CERTAIN = np.float32(1e4)  # a logit


@dataclass(frozen=True)
class LookupGain:
    """`texts` are reports of one kind, in as many rounds as `gain` has values. A gain of 1.6 means 1.6 times as fast.

    It is over token by token: the same loop without jump-forward and lookup.
    """

    texts: str
    reports: int
    answer_tokens: int
    passes: int
    passes_without: int
    tokens_per_pass: float
    tokens_per_second: Spread
    tokens_per_second_without: Spread
    gain: Spread


class ScriptedDecoder(Decoder):
    """Computes every pass, and lets `script` follow the first `start` positions, whatever the weights say."""

    script: Sequence[int] = ()
    start = 0

    def extend_rows(self, embeds: Floats, count: int) -> Floats:
        """Return the logits of `Decoder.extend_rows`, in which the largest one is that of the script's next token."""
        rows = super().extend_rows(embeds, count)
        for row, position in zip(rows, range(self.length - count + 1, self.length + 1), strict=True):
            if 0 <= position - self.start < len(self.script):
                row[self.script[position - self.start]] = CERTAIN
        return rows


@dataclass(frozen=True, eq=False)
class _RandomImage:
    embeds: Floats  # [tokens, hidden]
    maps: None = None
    geometry: Geometry = Geometry(1, 1)


def reports(book: PromptBook, count: int, with_boxes: bool) -> list[str]:
    """Draw reports: a kind of image, a body part, and names that such an image can show, each with a box or without."""
    chosen = random.Random(0)
    names = {m: [label for label, _ in book.labels if book.can_show(m, label)] for m in Modality}
    kinds = [modality for modality, shown in names.items() if len(shown) >= NAMES[1]]
    texts = []
    for _ in range(count):
        modality, part = chosen.choice(kinds), chosen.choice(list(BODY_PARTS))
        seen = chosen.sample(names[modality], chosen.randint(*NAMES))
        if with_boxes:
            seen = [f"{REF_OPEN}{name}{REF_CLOSE}{BOX_OPEN}{[_box(chosen)]}{BOX_CLOSE}" for name in seen]
        cut = chosen.randint(1, len(seen))
        texts.append(write(modality, part, [(Sentence.SEEN, seen[:cut]), (Sentence.ABNORMAL, seen[cut:])], Language.EN))
    return texts


def _box(chosen: random.Random) -> list[int]:
    (x1, x2), (y1, y2) = (sorted(chosen.sample(range(GRID_MAX + 1), 2)) for _ in range(2))
    return [x1, y1, x2, y2]


def measure(package: Package, threads: int, image_tokens: int) -> tuple[LookupGain, ...]:
    """Write reports without boxes, and with boxes, about an image of so many embeddings."""
    contents = package.read_all()
    decoder = ScriptedDecoder(contents, decoder_threads(package.manifest, threads), "cpu")
    language_model = LanguageModel(contents, decoder)
    book = PromptBook.from_json(contents.text("prompts"))
    prompt = book.prompt(Task.REPORT, Language.EN, REPORT_QUESTION[Language.EN])
    noise = np.random.default_rng(0).standard_normal((image_tokens, package.manifest.decoder.hidden), np.float32)
    writer = _Writer(language_model, decoder, prompt, _RandomImage(noise))
    kinds: dict[str, Callable[[], Grammar]] = {
        "reports": lambda: Prose(language_model.vocabulary),
        "reports with boxes": lambda: RegionGrammar(language_model.vocabulary),
    }
    return tuple(writer.measure(kind, make, reports(book, REPORTS, "boxes" in kind)) for kind, make in kinds.items())


@dataclass(frozen=True)
class _Writer:
    language_model: LanguageModel
    decoder: ScriptedDecoder
    prompt: Prompt
    image: _RandomImage

    def measure(self, kind: str, make: Callable[[], Grammar], texts: Sequence[str]) -> LookupGain:
        model = self.language_model
        scripts = [model.encode_continuation(text, self.prompt.question) for text in texts]
        self.decoder.script = ()
        self.decoder.start = model.generate(self.image, self.prompt, make(), 1).prompt_tokens
        self.write(make(), scripts[0], fast=True)  # warms up
        self.write(make(), scripts[0], fast=False)
        fast, plain, passes = [], [], [0, 0]
        for _ in range(ROUNDS):
            model.forget()
            seconds = [0.0, 0.0]
            passes = [0, 0]
            for script in scripts:
                for which, is_fast in enumerate((True, False)):
                    before = model.forward_passes
                    generation = self.write(make(), script, is_fast)
                    seconds[which] += generation.decode_ms / 1000
                    passes[which] += model.forward_passes - before - 1  # one is the prompt's
            fast.append(seconds[0])
            plain.append(seconds[1])
        tokens = sum(map(len, scripts))
        return LookupGain(
            texts=kind,
            reports=len(scripts),
            answer_tokens=tokens,
            passes=passes[0],
            passes_without=passes[1],
            tokens_per_pass=tokens / passes[0],
            tokens_per_second=Spread.of([tokens / each for each in fast]),
            tokens_per_second_without=Spread.of([tokens / each for each in plain]),
            gain=Spread.of(quotients(plain, fast)),
        )

    def write(self, grammar: Grammar, script: Sequence[int], fast: bool) -> Generation:
        """Write one report; raises ValueError if it is not the one that was given."""
        model = self.language_model
        self.decoder.script = (*script, model.vocabulary.end[0])
        model.jump_forward = model.prompt_lookup = fast
        time.sleep(PAUSE_SECONDS)
        generation = model.generate(self.image, self.prompt, grammar, MAX_TOKENS)
        if [step.token for step in generation.steps] != list(script):
            raise ValueError("the grammar changed the report")
        return generation
