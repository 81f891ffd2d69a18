"""Grammars in token ids: the tokens that may follow, so that no malformed box can be generated.

`RegionGrammar` allows any text between regions. Inside a region, the name ends, boxes open and close, coordinates stay on
the grid and in order (x1 < x2, y1 < y2), and no object has the same box twice. `NamedRegion` leaves the choice whether the
named object is present, and where. `Choice` leaves a list of candidates. `Prose` is text without regions, which may begin
with given words.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto

from medrega_edge.boxes import GRID_MAX
from medrega_edge.inference.decoding import FIRST_DIGIT, DigitPosition
from medrega_edge.inference.region_tokens import RegionTokens

MAX_NAME_TOKENS = 24  # the longest name in training has 12
MAX_BOXES = 20  # of one object


class _Mode(Enum):
    PROSE = auto()
    NAME = auto()
    NUMBER = auto()
    FORCED = auto()


class RegionGrammar:
    """The state of a text with regions, token by token. An object has at most `max_boxes` boxes."""

    def __init__(self, vocabulary: RegionTokens, max_boxes: int = MAX_BOXES) -> None:
        """Start at the beginning of an answer."""
        self.vocabulary = vocabulary
        self._max_boxes = max_boxes
        self._mode = _Mode.PROSE
        self._forced: list[int] = []  # the next one last
        self._after_forced = _Mode.PROSE
        self._name_tokens = 0
        self._box: list[int] = []  # coordinates of the box being written
        self._spelt = ""  # digits of the coordinate being written
        self._boxes = 0
        self._written: set[tuple[int, ...]] = set()  # boxes of the object so far
        self._separators: dict[int, Sequence[int]] = {}  # by their first token, once the number may end
        self._allowed_in_number: tuple[int, ...] = ()  # cached until the next token

    @property
    def banned(self) -> tuple[int, ...]:
        """Ids that may not follow where `allowed` is None."""
        v = self.vocabulary
        if self._mode is _Mode.NAME:
            if_nameless = (v.ref_close,) if self._name_tokens == 0 else ()
            return (v.ref_open, v.box_open, v.box_close, *v.end, *if_nameless)
        return (v.ref_close, v.box_open, v.box_close)

    def allowed(self) -> tuple[int, ...] | None:
        """Ids that may follow; None for all but `banned`."""
        if self._mode is _Mode.FORCED:
            return (self._forced[-1],)
        if self._mode is _Mode.NAME:
            return (self.vocabulary.ref_close,) if self._name_tokens >= MAX_NAME_TOKENS else None
        if self._mode is _Mode.NUMBER:
            if not self._allowed_in_number:
                self._separators = self._allowed_separators() if self._complete() else {}
                self._allowed_in_number = (*(self.vocabulary.digits[d] for d in self._digits()), *self._separators)
            return self._allowed_in_number
        return None

    @property
    def digit_position(self) -> DigitPosition | None:
        """Position of the digit that follows; None outside numbers."""
        return DigitPosition(self._boxes, len(self._box), len(self._spelt)) if self._mode is _Mode.NUMBER else None

    @property
    def ends(self) -> tuple[int, ...]:
        """Ids that end the coordinate being written."""
        return tuple(self._separators)

    def push(self, token: int) -> None:
        """Move on over a token; raises ValueError for one that is not allowed."""
        v = self.vocabulary
        allowed = self.allowed()
        if (allowed is None and token in self.banned) or (allowed is not None and token not in allowed):
            raise ValueError(f"token {token} is not allowed here")
        if self._mode is _Mode.PROSE:
            if token == v.ref_open:
                self._mode, self._name_tokens = _Mode.NAME, 0
        elif self._mode is _Mode.NAME:
            self._name_tokens += 1
            if token == v.ref_close:
                self._open_list()
        elif self._mode is _Mode.FORCED:
            self._forced.pop()
            if not self._forced:
                self._mode = self._after_forced
        elif token in self._separators:
            self._end_number(self._separators[token])
        else:
            self._spelt += str(v.digits.index(token))
        self._allowed_in_number = ()

    def write_boxes(self, tokens: Sequence[int]) -> None:
        """Take the tokens of all boxes of the object, from the first digit to the marker that closes the list."""
        if self.digit_position != FIRST_DIGIT:
            raise ValueError("no list of boxes begins here")
        self._force(tokens, _Mode.PROSE)

    def _open_list(self) -> None:
        self._boxes, self._box, self._spelt = 0, [], ""
        self._written = set()
        self._force((self.vocabulary.box_open, *self.vocabulary.open_list), _Mode.NUMBER)

    def _force(self, tokens: Sequence[int], then: _Mode) -> None:
        self._forced, self._after_forced = list(reversed(tokens)), then
        self._mode = _Mode.FORCED if tokens else then

    def _bounds(self) -> tuple[int, int]:
        """Smallest and largest value of the coordinate being written."""
        coordinate = len(self._box)
        return (0, GRID_MAX - 1) if coordinate < 2 else (self._box[coordinate - 2] + 1, GRID_MAX)

    def _digits(self) -> list[int]:
        """Digits after which some coordinate within the bounds can follow; no leading zeros."""
        if self._spelt == "0":
            return []
        low, high = self._bounds()
        scales = [10**spare for spare in range(len(str(GRID_MAX)) - len(self._spelt))]
        spelt = 10 * int(self._spelt or 0)
        return [
            digit
            for digit in range(10)
            if any(
                self._holds_new(max((spelt + digit) * scale, low), min((spelt + digit + 1) * scale - 1, high))
                for scale in (scales if spelt + digit else scales[:1])
            )
        ]

    def _holds_new(self, first: int, last: int) -> bool:
        return first <= last and (not self._written or any(map(self._is_new, range(first, last + 1))))

    def _is_new(self, value: int) -> bool:
        """Whether a coordinate completes no box that was written before."""
        return len(self._box) < 3 or (*self._box, value) not in self._written

    def _complete(self) -> bool:
        low, high = self._bounds()
        return bool(self._spelt) and low <= int(self._spelt) <= high and self._is_new(int(self._spelt))

    def _allowed_separators(self) -> dict[int, Sequence[int]]:
        v = self.vocabulary
        if len(self._box) < 3:
            return {v.between[0]: v.between}
        closing = (*v.close_list, v.box_close)
        options: dict[int, Sequence[int]] = {closing[0]: closing}
        # If a tokenizer starts both with the same token, the list closes: one box is right far more often than two.
        if self._boxes + 1 < self._max_boxes and v.next_box[0] != closing[0]:
            options[v.next_box[0]] = v.next_box
        return options

    def _end_number(self, separator: Sequence[int]) -> None:
        self._box.append(int(self._spelt))
        self._spelt = ""
        closing = separator[-1] == self.vocabulary.box_close
        if len(self._box) == 4:
            self._written.add(tuple(self._box))
            self._box = []
            self._boxes += 1
        if len(self._box) == 3 and not any(self._is_new(y) for y in range(self._bounds()[0], self._bounds()[1] + 1)):
            self._written.clear()  # no new box is left: a repeated one is better than none
        self._separators = {}
        self._force(separator[1:], _Mode.PROSE if closing else _Mode.NUMBER)


class NamedRegion(RegionGrammar):
    """One object whose name is known: it is absent, or has boxes; nothing else can be generated."""

    def __init__(
        self,
        vocabulary: RegionTokens,
        name: Sequence[int],
        absent: int,
        max_boxes: int = MAX_BOXES,
        limit: int | None = None,
    ) -> None:
        """Take the tokens of the object's name, and the first token of the answer that it is absent.

        With `limit`, no box is begun that might not end within so many tokens.
        """
        if limit is not None:
            overhead = len(name) + len(vocabulary.open_list) + len(vocabulary.close_list) + 4  # and the four markers
            max_boxes = max(1, min(max_boxes, (limit - overhead) // vocabulary.longest_box))
        super().__init__(vocabulary, max_boxes)
        self._name = tuple(name)
        self.absent = absent
        self._decided = False

    def allowed(self) -> tuple[int, ...] | None:
        """Ids that may follow; never None."""
        if not self._decided:
            return (self.vocabulary.ref_open, self.absent)
        if self._mode is _Mode.PROSE:
            return self.vocabulary.end[:1]
        return super().allowed()

    def push(self, token: int) -> None:
        """Move on over a token; raises ValueError for one that is not allowed."""
        if self._decided:
            super().push(token)
        elif token == self.vocabulary.ref_open:
            self._decided = True
            self._open_list()
            self._force((*self._name, self.vocabulary.ref_close, *reversed(self._forced)), _Mode.NUMBER)
        elif token == self.absent:
            self._decided = True
        else:
            raise ValueError(f"token {token} is not allowed here")


class Prose:
    """Text without region markers, which begins with the tokens of `opening`."""

    digit_position = None
    ends: tuple[int, ...] = ()

    def __init__(self, vocabulary: RegionTokens, opening: Sequence[int] = ()) -> None:
        """Ban the markers."""
        v = vocabulary
        self.banned = (v.ref_open, v.ref_close, v.box_open, v.box_close)
        self._opening = list(opening)

    def allowed(self) -> tuple[int, ...] | None:
        """The next token of the opening; after it, None: any but the markers."""
        return (self._opening[0],) if self._opening else None

    def push(self, token: int) -> None:
        """Move on over a token; raises ValueError for another than the opening's."""
        if self._opening and token != self._opening.pop(0):
            raise ValueError(f"token {token} is not allowed here")


class Choice:
    """One of several candidates; with `following`, one or more of them, each at most once."""

    banned: tuple[int, ...] = ()
    digit_position = None
    ends: tuple[int, ...] = ()

    def __init__(
        self, candidates: Sequence[Sequence[int]], end: tuple[int, ...], following: Sequence[Sequence[int]] = ()
    ) -> None:
        """Take the candidates as token sequences, none empty; `following` are the same with a separator in front."""
        self._end = end
        self._following = [tuple(candidate) for candidate in following]
        self._live = [(i, tuple(candidate)) for i, candidate in enumerate(candidates)]  # index, and the tokens left
        self._chosen: list[int] = []

    @property
    def chosen(self) -> tuple[int, ...]:
        """Indices of the candidates that have been written, in their order."""
        return (*self._chosen, *self._whole())

    def _whole(self) -> list[int]:
        return [i for i, rest in self._live if not rest]

    def allowed(self) -> tuple[int, ...]:
        """Ids that may follow."""
        ids = [rest[0] for _, rest in self._live if rest]
        if self._whole():
            ids.append(self._end[0])
            ids += [self._following[i][0] for i in self._unchosen()]
        return tuple(dict.fromkeys(ids))

    def _unchosen(self) -> list[int]:
        return [i for i in range(len(self._following)) if i not in self.chosen]

    def push(self, token: int) -> None:
        """Move on over a token; raises ValueError for one that is not allowed."""
        if token not in self.allowed():
            raise ValueError(f"token {token} is not allowed here")
        going_on = [(i, rest[1:]) for i, rest in self._live if rest and rest[0] == token]
        if going_on:
            self._live = going_on
            return
        unchosen = self._unchosen()
        self._chosen += self._whole()
        self._live = [(i, self._following[i][1:]) for i in unchosen if self._following[i][0] == token]
