"""The token ids of the region grammar: markers, digits and punctuation of one tokenizer, and boxes spelt in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medrega_edge.boxes import GRID_MAX, GridBox
from medrega_edge.errors import PackageError
from medrega_edge.inference.tokenizer import Tokenizer
from medrega_edge.prompts.region_markup import BOX_CLOSE, BOX_OPEN, REF_CLOSE, REF_OPEN


@dataclass(frozen=True)
class RegionTokens:
    """Ids of the markers, the digits and the punctuation between them."""

    ref_open: int
    ref_close: int
    box_open: int
    box_close: int
    end: tuple[int, ...]
    digits: tuple[int, ...]
    open_list: tuple[int, ...]  # "[["
    between: tuple[int, ...]  # ", " between coordinates
    next_box: tuple[int, ...]  # "], ["
    close_list: tuple[int, ...]  # "]]"

    @property
    def longest_box(self) -> int:
        """Maximum number of tokens of a box with the separator behind it."""
        return 4 * len(str(GRID_MAX)) + 3 * len(self.between) + len(self.next_box)

    def spell(self, boxes: Sequence[GridBox], limit: int) -> tuple[list[int], int]:
        """Return the tokens of boxes up to the marker that closes their list, and how many boxes fit.

        So many boxes are spelt as fit into `limit` tokens, and at least one.
        """
        tokens: list[int] = []
        closing = (*self.close_list, self.box_close)
        for fitting, box in enumerate(boxes):
            spelt = list(self.next_box) if tokens else []
            for number, coordinate in enumerate(box.as_list()):
                spelt += self.between if number else ()
                spelt += (self.digits[int(digit)] for digit in str(coordinate))
            if len(tokens) + len(spelt) + len(closing) > limit:
                return ([*tokens, *closing], fitting) if tokens else ([*spelt, *closing], 0)
            tokens += spelt
        return [*tokens, *closing], len(boxes)

    def box_lists(self, ids: Sequence[int]) -> list[tuple[int, list[list[int]]]]:
        """Find the lists of boxes in a text: the position that closes each, and its boxes in grid steps."""
        digit = {token: str(value) for value, token in enumerate(self.digits)}
        found: list[tuple[int, list[list[int]]]] = []
        start: int | None = None
        for i, token in enumerate(ids):
            if token == self.box_open:
                start = i
            elif token == self.box_close and start is not None:
                numbers = [int(part) for part in "".join(digit.get(t, " ") for t in ids[start:i]).split()]
                if numbers and len(numbers) % 4 == 0:
                    found.append((i, [numbers[k : k + 4] for k in range(0, len(numbers), 4)]))
                start = None
        return found

    @classmethod
    def of(cls, tokenizer: Tokenizer, end: tuple[int, ...]) -> RegionTokens:
        """Look the ids up in a tokenizer. The punctuation is tokenized as it stands in a box, between digits.

        Raises PackageError for a tokenizer that lacks a marker or does not spell numbers digit by digit.
        """
        digits = tuple(tokenizer.id_of(str(d)) for d in range(10))
        box_open, box_close = tokenizer.id_of(BOX_OPEN), tokenizer.id_of(BOX_CLOSE)
        # As one text, because some tokenizers start every text with a space.
        parts: list[list[int]] = [[]]
        for token in tokenizer.encode(f"{BOX_OPEN}[[1, 1], [1, 1]]{BOX_CLOSE}")[1:-1]:
            if token in digits:
                parts.append([])
            else:
                parts[-1].append(token)
        if len(parts) != 5:
            raise PackageError("inference.numbers_not_by_digit")
        open_list, between, next_box, _, close_list = map(tuple, parts)
        return cls(
            ref_open=tokenizer.id_of(REF_OPEN),
            ref_close=tokenizer.id_of(REF_CLOSE),
            box_open=box_open,
            box_close=box_close,
            end=end,
            digits=digits,
            open_list=open_list,
            between=between,
            next_box=next_box,
            close_list=close_list,
        )
