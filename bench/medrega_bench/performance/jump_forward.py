"""What jump-forward saves at the size of a larger model: a one-box question, decoded with it and without, in turn.

Knows the runtime's own loop, grammar and prompts; knows no image: random embeddings stand for one, and weights are random
too. Such weights may find nothing, or many boxes, so they are asked as trained ones are and have one answer left.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from medrega_bench.performance.latency import over, spread
from medrega_edge.domain import Language, Task
from medrega_edge.inference.decoder import Decoder, Floats
from medrega_edge.inference.devices import decoder_threads
from medrega_edge.inference.grammars import NamedRegion
from medrega_edge.inference.language_model import Generation, LanguageModel
from medrega_edge.package.package import Package
from medrega_edge.prompts.region_markup import REF_OPEN
from medrega_edge.prompts.templates import ABSENT_ANSWER, DETECT_QUESTION, PromptBook

OBJECT = "liver"
LIMIT = 256  # tokens; a box takes a tenth
ROUNDS = 15
PAUSE_SECONDS = 0.1  # threads that have just worked wait by spinning for a while

Row = dict[str, Any]


class OneBox(NamedRegion):
    """The object is there, in one box. Both are asked for as ever, in a pass of their own."""

    def allowed(self) -> tuple[int, ...] | None:
        """Ids that may follow; one stands twice where the other answer is not wanted."""
        v = self._v
        wanted = {self._absent: v.ref_open, v.next_box[0]: v.close_list[0]}
        given = super().allowed()
        return given if given is None else tuple(wanted.get(token, token) for token in given)


@dataclass(frozen=True, eq=False)
class _Seen:
    embeds: Floats  # [tokens, hidden]


def measure(package: Package, threads: int, image_tokens: int) -> Row:
    """Ask about an image of so many embeddings, with jump-forward and without; spreads of milliseconds and of ratios."""
    contents = package.read_all()
    spec = package.manifest.decoder
    language_model = LanguageModel(contents, Decoder(contents, decoder_threads(package.manifest, threads), "cpu"))
    book = PromptBook.from_json(contents.text("prompts"))
    prompt = book.prompt(Task.DETECT, Language.EN, DETECT_QUESTION[Language.EN].format(x=OBJECT))
    encode = language_model.encode_continuation
    absent = encode(ABSENT_ANSWER[Language.EN].format(name=OBJECT), prompt.question)[0]
    image = _Seen(np.random.default_rng(0).standard_normal((image_tokens, spec.hidden), np.float32))

    def ask(jump_forward: bool) -> tuple[Generation, int]:
        grammar = OneBox(language_model.vocabulary, encode(OBJECT, REF_OPEN), absent)
        language_model.jump_forward, before = jump_forward, language_model.forward_passes
        time.sleep(PAUSE_SECONDS)
        return language_model.generate(image, prompt, grammar, LIMIT), language_model.forward_passes - before

    ask(True)  # warms up, and takes the image in
    turns = [(ask(True), ask(False)) for _ in range(ROUNDS)]
    jumping, plain = ([turn[which][0] for turn in turns] for which in (0, 1))
    (_, passes), (_, passes_without) = turns[0]
    wholes = ([said.prefill_ms + said.decode_ms for said in some] for some in (plain, jumping))
    return {
        "image_tokens": image_tokens,
        "answer_tokens": len(jumping[0].steps),
        "passes": passes,
        "passes_without": passes_without,
        "fewer_passes": spread([passes_without / passes]),
        "prefill_ms": spread([said.prefill_ms for said in jumping]),
        "decode_ms": spread([said.decode_ms for said in jumping]),
        "decode_ms_without": spread([said.decode_ms for said in plain]),
        "decode_gain": spread(over([said.decode_ms for said in plain], [said.decode_ms for said in jumping])),
        "whole_gain": spread(over(*wholes)),
    }
