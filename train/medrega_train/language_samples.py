"""Samples of the language stages: an image, its questions as token ids and targets, and batches of them.

Our prompts put the image first, so the questions of one image share its prefix: they lie one after the other in one
sequence, each sees the prefix and itself, and the image is paid for once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor

from medrega_edge.boxes import GRID_MAX
from medrega_edge.domain import Language, Task
from medrega_edge.evaluation.records import Record
from medrega_edge.prompts.region_markup import BOX_CLOSE, BOX_OPEN, REF_CLOSE, REF_OPEN
from medrega_edge.prompts.templates import DETECT_QUESTION, IMAGE_TOKEN, PromptBook
from medrega_train.augment import View
from medrega_train.dense_head import IGNORE, DenseBatch, DenseSample, DenseSamples
from medrega_train.dense_head import collate as collate_dense
from medrega_train.feature_cache import FOREIGN_SHARE, FeaturePool
from medrega_train.non_medical_images import foreign_picture
from medrega_train.questions import QuestionAnswer, QuestionSampler, ask_modality
from medrega_train.region_targets import RegionTargets, pooling
from medrega_train.tokens import END, PAD, token_id
from medrega_train.views import Views

DIGITS = 10
ABSENT_NAMES = 2  # that the region head is asked about for each image
LONGEST_ROW = 232  # tokens; the longest row of a batch sets its cost, so a question too many waits for another draw

BoxList = tuple[int, list[list[int]]]  # a position, and boxes in grid steps


@dataclass(frozen=True)
class Encoded:
    """A question as token ids. `target[i]` is the token that position i has to predict, or IGNORE.

    `value` and `place` are the coordinate and the digit of it that a target spells, -1 elsewhere. `objects` are the lists of
    boxes that follow a position: the position, and the boxes in grid steps; no box where the object is absent. `shown` are
    the lists of boxes in the question: the position at which each is closed, and its boxes.
    """

    ids: list[int]
    target: list[int]
    value: list[int]
    place: list[int]
    objects: list[BoxList]
    shown: list[BoxList]


class Encoder:
    """Questions -> token ids and targets, by the runtime's own prompt builder."""

    def __init__(self, tokenizer: Tokenizer, prompts: PromptBook, image_tokens: int) -> None:
        """`image_tokens` is the length of an image in the sequence."""
        self._tokenizer = tokenizer
        self._prompts = prompts
        before, after = prompts.before_and_after()
        self.image_id = token_id(tokenizer, IMAGE_TOKEN)
        self.pad_id = token_id(tokenizer, PAD)
        self.prefix = self._ids(before) + [self.image_id] * image_tokens + self._ids(after)
        self.digit_ids = [token_id(tokenizer, str(d)) for d in range(DIGITS)]
        self._digit_of = {token: d for d, token in enumerate(self.digit_ids)}
        self._open, self._close = token_id(tokenizer, BOX_OPEN), token_id(tokenizer, BOX_CLOSE)

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    @property
    def separators(self) -> list[int]:
        """The tokens after a coordinate that is followed by another, and after the last one of a list."""
        return [self._ids("1, 1")[1], self._ids("1]]")[1]]

    def opening(self, question: str, label: str) -> list[int]:
        """Tokens of an English detection question and of its answer up to the first coordinate."""
        prompt = self._prompts.suffix(Task.DETECT, Language.EN, question)
        return self._ids(f"{prompt}{REF_OPEN}{label}{REF_CLOSE}{BOX_OPEN}[[")

    def question(self, question: QuestionAnswer) -> Encoded:
        """Encode what follows the image: prompt, answer and its end."""
        prompt = self._ids(self._prompts.suffix(question.task, question.language, question.question))
        answer = self._ids(question.answer + (END if question.finished else ""))
        ids = prompt + answer
        target = [IGNORE] * (len(prompt) - 1) + answer + [IGNORE]
        value, place = self._coordinates(target)
        objects = self._objects(target, value, place)
        if question.boxes:
            objects = [(len(ids) - 1, [box.as_list() for box in question.boxes])]
        return Encoded(ids, target, value, place, objects, self._shown(prompt))

    def absent(self, name: str) -> Encoded:
        """An object that is not in the image, as if the model began to write its boxes."""
        ids = self.opening(DETECT_QUESTION[Language.EN].format(x=name), name)
        nothing = [-1] * len(ids)
        return Encoded(ids, [IGNORE] * len(ids), nothing, nothing, [(len(ids) - 1, [])], [])

    def _shown(self, prompt: list[int]) -> list[BoxList]:
        closed = [i for i, token in enumerate(prompt) if token == self._close]
        boxes = [boxes for _, boxes in self._objects(prompt, *self._coordinates(prompt))]
        return list(zip(closed, boxes, strict=True))

    def _objects(self, target: list[int], value: list[int], place: list[int]) -> list[BoxList]:
        objects: list[BoxList] = []
        numbers: list[int] = []
        for i, token in enumerate(target):
            if token == self._open:
                numbers = []
            elif place[i] == 0:
                if not numbers:
                    objects.append((i, []))
                numbers.append(value[i])
                if len(numbers) % 4 == 0:
                    objects[-1][1].append(numbers[-4:])
        return objects

    def _coordinates(self, target: list[int]) -> tuple[list[int], list[int]]:
        value, place = [-1] * len(target), [-1] * len(target)
        inside, start = False, -1
        for i, token in enumerate(target):
            if token in (self._open, self._close):
                inside = token == self._open
            if inside and token in self._digit_of:
                start = i if start < 0 else start
            elif start >= 0:
                number = int("".join(str(self._digit_of[t]) for t in target[start:i]))
                for k in range(start, i + 1):  # the token after the last digit says that the number ends
                    value[k], place[k] = number, k - start
                start = -1
        return value, place


@dataclass
class LanguageBatch:
    """B images, each with its questions in one sequence of length T; `segment` is 0 for the prefix, -1 for padding.

    An image comes as `features` of a frozen tower, or as `dense` targets with its pixels. With a region head, `query` has
    the positions in the sequence whose states ask it, -1 where there are fewer, and `regions` what it should say. `shown`
    are image and position at which a list of boxes in a question ends, `shares` how much of it lies at each place.
    """

    dense: DenseBatch | None
    features: dict[str, Tensor] | None
    query: Tensor | None  # [B, Q]
    regions: RegionTargets | None
    shown: Tensor | None  # [K, 2]
    shares: Tensor | None  # [K, P], each row sums to 1
    ids: Tensor  # [B, T]
    position: Tensor  # [B, T]
    segment: Tensor  # [B, T]
    target: Tensor  # [B, T]
    value: Tensor  # [B, T]
    place: Tensor  # [B, T]

    def to(self, device: torch.device) -> LanguageBatch:
        """Move every tensor."""
        moved = {k: None if v is None else v.to(device) for k, v in vars(self).items() if k != "features"}
        features = self.features and {name: value.to(device) for name, value in self.features.items()}
        return LanguageBatch(features=features, **moved)


class LiveSamples:
    """Samples for a tower that trains along: fresh views with dense targets."""

    def __init__(self, views: Views, dense: DenseSamples) -> None:
        """`dense` makes the targets of a view."""
        self._views, self._dense = views, dense

    def draw(self, number: int) -> tuple[Record | None, View, np.random.Generator, DenseSample]:
        """Return sample `number`: record (None: no medical image), view, generator, dense sample."""
        record, view, rng = self._views.draw(number)
        if rng.random() < FOREIGN_SHARE:
            return None, view, rng, self._dense.foreign(foreign_picture(self._views.size, rng))
        return record, view, rng, self._dense.sample(record, view, rng)


Sample = tuple[Any, list[Encoded], tuple[float, float]]  # an image, questions, extent of the image in the picture


class LanguageSamples(torch.utils.data.Dataset[Sample]):
    """Sample number i: an image, as `source` gives it, and encoded questions about it."""

    def __init__(
        self,
        source: LiveSamples | FeaturePool,
        questions: QuestionSampler,
        encoder: Encoder,
        count: int,
        bins: int | None = None,
    ) -> None:
        """`count` questions to an image; `bins` are those of the region head, None without one."""
        self._source, self._questions, self._encoder, self._count = source, questions, encoder, count
        self._bins = bins

    def __getitem__(self, number: int) -> Sample:
        """Return one sample."""
        record, view, rng, image = self._source.draw(number)
        if record is None:
            return image, [self._encoder.question(ask_modality(None))], view.extent
        encoded = [self._encoder.question(question) for question in self._questions.draw(record, view, self._count, rng)]
        if self._bins:
            absent = [self._encoder.absent(name) for name in self._questions.absent(record, ABSENT_NAMES, rng)]
            encoded = [encoded[0], *absent, *encoded[1:]]  # a row that is full drops its last questions
        return image, encoded, view.extent

    def collate(self, samples: list[Sample]) -> LanguageBatch:
        """Lay the questions of each image behind its prefix."""
        prefix = self._encoder.prefix
        rows: list[list[list[int]]] = []
        positions, boxes = [], []
        shown: list[tuple[int, int]] = []
        shares: list[npt.NDArray[np.float32]] = []
        for _, questions, extent in samples:
            queries: list[int] = []
            objects: list[npt.NDArray[np.float32]] = []
            columns: list[list[int]] = [prefix, list(range(len(prefix))), [0] * len(prefix)]
            columns += [[IGNORE] * len(prefix), [-1] * len(prefix), [-1] * len(prefix)]
            for number, q in enumerate(questions, 1):
                if number > 1 and len(columns[0]) + len(q.ids) > LONGEST_ROW:
                    break
                places = range(len(prefix), len(prefix) + len(q.ids))
                parts = (q.ids, list(places), [number] * len(q.ids), q.target, q.value, q.place)
                before = len(columns[0])
                columns = [column + part for column, part in zip(columns, parts, strict=True)]
                queries += [before + position for position, _ in q.objects]
                objects += [_square_fractions(grid_boxes, extent) for _, grid_boxes in q.objects]
                if self._bins:
                    shown += [(len(rows), before + position) for position, _ in q.shown]
                    shares += [pooling(_square_fractions(found, extent), self._bins // 2) for _, found in q.shown]
            rows.append(columns)
            positions.append(queries)
            boxes.append(objects)
        length = max(len(columns[0]) for columns in rows)
        fill = (self._encoder.pad_id, 0, -1, IGNORE, -1, -1)
        tensors = [torch.tensor([columns[k] + [fill[k]] * (length - len(columns[k])) for columns in rows]) for k in range(6)]
        images = [image for image, _, _ in samples]
        query, regions, ends, weights = None, None, None, None
        if self._bins:
            ends = torch.tensor(shown, dtype=torch.long).reshape(-1, 2)
            weights = torch.from_numpy(np.stack([np.zeros((self._bins // 2) ** 2, np.float32), *shares])[1:])
            regions = RegionTargets.of(boxes, self._bins)
            width = regions.asked.shape[1]
            query = torch.tensor([queries + [-1] * (width - len(queries)) for queries in positions])
        if isinstance(self._source, FeaturePool):
            features = {name: torch.from_numpy(np.stack([image[name] for image in images])) for name in images[0]}
            return LanguageBatch(None, features, query, regions, ends, weights, *tensors)
        return LanguageBatch(collate_dense(images), None, query, regions, ends, weights, *tensors)


def _square_fractions(boxes: list[list[int]], extent: tuple[float, float]) -> npt.NDArray[np.float32]:
    """Grid boxes of the image as fractions of the square picture `[n, 4]`."""
    return np.asarray(np.asarray(boxes, np.float32).reshape(-1, 4) / GRID_MAX * np.asarray(extent * 2), np.float32)
