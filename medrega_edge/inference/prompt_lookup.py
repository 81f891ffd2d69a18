"""Prompt lookup: tokens that followed the same words before go through together with the next one, as guesses.

A pass gives the logits behind each guess. Where the text goes on as guessed, they are those that a pass of its own would
have given, to the bit, so guesses change the time and no answer. For that, every pass here has an even number of tokens,
and at least two: the products of several rows and of a single one add in another order, and those with groups of more than
32 weights compute rows in pairs. `Decoder.gives_equal_rows` checks that this holds on the machine at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import cast

from medrega_edge.inference.decoder import Decoder, Floats

LONGEST = 4  # tokens that are compared with earlier ones
SURE = 3  # equal tokens from which on more than one guess is worth its time
# Tokens of a pass with guesses. At the 0.5 B shape one of 2, 4, 8 takes 1.1, 1.4, 1.9 times the time of a single one.
FEW_TOKENS, MOST_TOKENS = 4, 8
MEMORY = 8192  # tokens


class TextMemory:
    """Earlier prompts and answers as token ids, and what followed where. It forgets everything when it is full."""

    def __init__(self) -> None:
        """Begin empty."""
        self._tokens: list[int] = []
        self._next: dict[tuple[int, ...], int] = {}  # up to LONGEST tokens -> position of what followed them last

    def add(self, tokens: Sequence[int]) -> None:
        """Go on with the text."""
        if len(self._tokens) + len(tokens) > MEMORY:
            self._tokens.clear()
            self._next.clear()
        for token in tokens:
            position = len(self._tokens)
            for length in range(1, min(LONGEST, position) + 1):
                self._next[tuple(self._tokens[-length:])] = position
            self._tokens.append(token)

    def guess(self, count: int) -> list[int]:
        """Return up to `count` tokens that may follow: those behind the longest words equal to the last ones.

        A single one where fewer than SURE tokens are equal.
        """
        for length in range(min(LONGEST, len(self._tokens)), 0, -1):
            position = self._next.get(tuple(self._tokens[-length:]))
            if position is not None:
                return self._tokens[position : position + (count if length >= SURE else 1)]
        return []


class LookupReader:
    """Feeds an answer to the decoder with guesses, and keeps the logits behind these."""

    def __init__(
        self, decoder: Decoder, embed: Callable[[list[int]], Floats], memory: TextMemory, end: Sequence[int]
    ) -> None:
        """The answer follows what is in the cache. No guess goes beyond one of the `end` tokens, which are never fed."""
        self._decoder, self._embed, self._memory, self._end = decoder, embed, memory, frozenset(end)
        self._length = decoder.length  # of the cache, without guesses
        self._guesses: list[int] = []  # in the cache behind that, not used yet
        self._logits: list[Floats] = []  # behind each of them
        self._tokens = FEW_TOKENS  # of a pass
        self._given = 0  # guesses of the last pass

    def extend(self, tokens: list[int]) -> Floats:
        """Return the logits that follow `tokens`, which go on with the answer; raises ResourceError as `Decoder.extend`.

        There has to be room for one more token in the context.
        """
        self._memory.add(tokens)
        used = 0
        while used < min(len(tokens), len(self._guesses)) and tokens[used] == self._guesses[used]:
            used += 1
        logits = self._logits[used - 1] if used else None
        self._length += used
        self._guesses, self._logits = self._guesses[used:], self._logits[used:]
        if logits is not None and used == len(tokens):
            return logits
        # More while all are right: a text that goes on as an earlier one often does so for long.
        all_right = self._given > 1 and not self._guesses
        self._tokens = MOST_TOKENS if all_right else FEW_TOKENS
        return self._read(tokens[used:])

    def _read(self, tokens: list[int]) -> Floats:
        """Feed tokens and guesses, an even number; return the logits behind the tokens."""
        self._decoder.rewind(self._length)
        room = self._decoder.remaining_context - len(tokens)
        guesses = self._memory.guess(min(max(self._tokens - len(tokens), len(tokens) % 2), room))
        guesses = list(takewhile(lambda guess: guess not in self._end, guesses))
        if (len(tokens) + len(guesses)) % 2:
            guesses = guesses[:-1] if guesses else [tokens[-1]]
        wanted = len(guesses) + 1
        rows = self._decoder.extend_rows(self._embed([*tokens, *guesses]), wanted + wanted % 2)[-wanted:]
        self._length += len(tokens)
        self._guesses, self._logits, self._given = guesses, list(rows[1:]), len(guesses)
        return cast(Floats, rows[0])
