"""What jump-forward saves at the size of a larger model: a question about one box, decoded with it and without, in turn.

Random embeddings stand for the image, and the weights are random too. Such weights may find nothing, or many boxes. So the
grammar leaves them one answer: one box.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from medrega_bench.performance.spread import Spread, quotients
from medrega_edge.boxes import Geometry
from medrega_edge.domain import Language, Task
from medrega_edge.inference.decoder import Decoder, Floats
from medrega_edge.inference.devices import decoder_threads
from medrega_edge.inference.grammars import NamedRegion
from medrega_edge.inference.language_model import Generation, LanguageModel
from medrega_edge.package.package import Package
from medrega_edge.prompts.region_markup import REF_OPEN
from medrega_edge.prompts.templates import ABSENT_ANSWER, DETECT_QUESTION, PromptBook

OBJECT = "liver"
MAX_TOKENS = 256  # a box takes a tenth
ROUNDS = 15
PAUSE_SECONDS = 0.1  # threads that have just worked wait by spinning for a while


@dataclass(frozen=True)
class JumpForwardGain:
    """Passes and milliseconds with jump-forward and without. A gain of 1.6 means 1.6 times as fast with it.

    `decode_gain` is of decoding alone, `whole_gain` of prefill and decoding.
    """

    image_tokens: int
    answer_tokens: int
    passes: int
    passes_without: int
    fewer_passes: Spread
    prefill_ms: Spread
    decode_ms: Spread
    decode_ms_without: Spread
    decode_gain: Spread
    whole_gain: Spread


class OneBox(NamedRegion):
    """Allows one answer: the object is present, in one box. The questions whether it is cost their passes as usual."""

    def allowed(self) -> tuple[int, ...] | None:
        """Return the ids that may follow, those of other answers replaced, so that their number stays the same."""
        v = self.vocabulary
        replacements = {self.absent: v.ref_open, v.next_box[0]: v.close_list[0]}
        ids = super().allowed()
        return ids if ids is None else tuple(replacements.get(token, token) for token in ids)


@dataclass(frozen=True, eq=False)
class EmbeddedImage:
    """An image as the language model gets it, from a tower or drawn at random."""

    embeds: Floats  # [tokens, hidden]
    maps: None = None
    geometry: Geometry = Geometry(1, 1)


def measure(package: Package, threads: int, image_tokens: int) -> JumpForwardGain:
    """Ask about an image of so many embeddings, with jump-forward and without, in `ROUNDS` rounds."""
    contents = package.read_all()
    spec = package.manifest.decoder
    language_model = LanguageModel(contents, Decoder(contents, decoder_threads(package.manifest, threads), "cpu"))
    book = PromptBook.from_json(contents.text("prompts"))
    prompt = book.prompt(Task.DETECT, Language.EN, DETECT_QUESTION[Language.EN].format(x=OBJECT))
    encode = language_model.encode_continuation
    absent = encode(ABSENT_ANSWER[Language.EN].format(name=OBJECT), prompt.question)[0]
    image = EmbeddedImage(np.random.default_rng(0).standard_normal((image_tokens, spec.hidden), np.float32))

    def ask(jump_forward: bool) -> tuple[Generation, int]:
        grammar = OneBox(language_model.vocabulary, encode(OBJECT, REF_OPEN), absent)
        language_model.jump_forward, before = jump_forward, language_model.forward_passes
        time.sleep(PAUSE_SECONDS)
        return language_model.generate(image, prompt, grammar, MAX_TOKENS), language_model.forward_passes - before

    ask(True)  # warms up, and fills the cache with the image's prefix
    rounds = [(ask(True), ask(False)) for _ in range(ROUNDS)]
    (_, passes), (_, passes_without) = rounds[0]
    jumping, plain = ([measured[which][0] for measured in rounds] for which in (0, 1))
    decode, decode_without = ([generation.decode_ms for generation in side] for side in (jumping, plain))
    whole, whole_without = (
        [generation.prefill_ms + generation.decode_ms for generation in side] for side in (jumping, plain)
    )
    return JumpForwardGain(
        image_tokens=image_tokens,
        answer_tokens=len(jumping[0].steps),
        passes=passes,
        passes_without=passes_without,
        fewer_passes=Spread.of([passes_without / passes]),
        prefill_ms=Spread.of([generation.prefill_ms for generation in jumping]),
        decode_ms=Spread.of(decode),
        decode_ms_without=Spread.of(decode_without),
        decode_gain=Spread.of(quotients(decode_without, decode)),
        whole_gain=Spread.of(quotients(whole_without, whole)),
    )
