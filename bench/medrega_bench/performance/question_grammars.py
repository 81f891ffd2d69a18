"""Our runtime as `question_worker` drives it: random weights, and an answer of a given length.

A package of random weights answers anything. So the grammar leaves it one kind of answer: one box of a named object, or free
text that does not end before its length is reached.
"""

from __future__ import annotations

import time
from concurrent.futures import Executor
from pathlib import Path

import numpy as np

from medrega_bench.performance.jump_forward import EmbeddedImage, OneBox
from medrega_edge.domain import Language, Task
from medrega_edge.images.preprocess import Preprocessing, normalise
from medrega_edge.inference.decoder import Decoder
from medrega_edge.inference.decoding import Grammar
from medrega_edge.inference.devices import decoder_threads
from medrega_edge.inference.grammars import RegionGrammar
from medrega_edge.inference.language_model import LanguageModel
from medrega_edge.inference.vision_encoder import VisionEncoder
from medrega_edge.package.package import Package
from medrega_edge.prompts.region_markup import REF_OPEN
from medrega_edge.prompts.templates import ABSENT_ANSWER, DETECT_QUESTION, Prompt, PromptBook

OBJECT = "inferior vena cava"  # an answer of one box has 25 tokens with it, at the 0.5 B shape
MAX_TOKENS = 64  # of the answer with a box


def box_prompt(book: PromptBook) -> Prompt:
    """The question for the box of `OBJECT`."""
    return book.prompt(Task.DETECT, Language.EN, DETECT_QUESTION[Language.EN].format(x=OBJECT))


class Endless(RegionGrammar):
    """Text without regions that goes on until the limit."""

    @property
    def banned(self) -> tuple[int, ...]:
        """What begins a region, and the end."""
        return (*super().banned, self.vocabulary.ref_open, *self.vocabulary.end)


class Asker:
    """A package, loaded as the engine loads it, and one question. `parts` are the seconds of the last answer's stages."""

    def __init__(self, folder: str, threads: int, pool: Executor, tokens: int, region: bool) -> None:
        """Open both graphs in `pool`; `tokens` is the length of an answer that is no region."""
        package = Package.open(Path(folder))
        manifest, contents = package.manifest, package.read_all()
        vision = pool.submit(VisionEncoder, contents, threads, "cpu")
        decoder = pool.submit(Decoder, contents, decoder_threads(manifest, threads), "cpu")
        book = PromptBook.from_json(contents.text("prompts"))
        self._prompt, self._tokens, self._region = box_prompt(book), tokens, region
        self._language_model = LanguageModel(contents, decoder.result())
        encode = self._language_model.encode_continuation
        self._name = encode(OBJECT, REF_OPEN)
        self._absent = encode(ABSENT_ANSWER[Language.EN].format(name=OBJECT), self._prompt.question)[0]
        self._vision = vision.result()
        spec = manifest.vision
        self._preprocessing = Preprocessing(spec.image_size, spec.mean, spec.std, spec.fit)
        self.parts: dict[str, float] = {}

    def encode(self, image: bytes) -> EmbeddedImage:
        """Encode RGB bytes of a square of the tower's size."""
        side = self._preprocessing.image_size
        begun = time.perf_counter()
        pixels = np.frombuffer(image, np.uint8).reshape(side, side, 3)
        embedded = EmbeddedImage(self._vision.encode(normalise(pixels, self._preprocessing)[None]).embeds)
        self.parts = {"tower": time.perf_counter() - begun}
        return embedded

    def ask(self, image: EmbeddedImage) -> float:
        """Answer; return the number of tokens."""
        grammar: Grammar = Endless(self._language_model.vocabulary)
        if self._region:
            grammar = OneBox(self._language_model.vocabulary, self._name, self._absent)
        limit = MAX_TOKENS if self._region else self._tokens
        generation = self._language_model.generate(image, self._prompt, grammar, limit)
        self.parts |= {"reading": generation.prefill_ms / 1000, "answering": generation.decode_ms / 1000}
        return float(len(generation.steps))
