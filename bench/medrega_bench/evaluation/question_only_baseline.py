"""What a question is worth without its image: a lookup of the training questions, and a classifier trained on them.

Neither sees an image. A model has to beat both before its answers say anything about images. The classifier's recipe is
chosen on the validation split by `medrega bench blind`.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from medrega_bench.evaluation.figures import Pair
from medrega_bench.evaluation.results import Figure
from medrega_bench.evaluation.settings import SETTINGS
from medrega_bench.evaluation.tables import figures_of
from medrega_bench.performance.environment import Environment
from medrega_edge.domain import Language
from medrega_edge.evaluation.grading import is_exact
from medrega_edge.evaluation.records import Record

QuestionAndAnswer = tuple[str, str]


@dataclass(frozen=True)
class Recipe:
    """Sequences of up to `longest` words or characters, weighted by tf-idf; `c` is the support vector machine's."""

    unit: str  # "word" or "char"
    longest: int
    c: float


TRIALS = {
    Language.EN: tuple(Recipe("word", longest, c) for longest in (2, 3) for c in (0.1, 0.3, 1.0)),
    Language.ZH: tuple(Recipe("char", longest, c) for longest in (2, 3) for c in (0.1, 0.3, 1.0)),
}
CHOSEN = {Language.EN: Recipe("word", 3, 1.0), Language.ZH: Recipe("char", 2, 0.3)}  # see bench/results/blind.json


class Lookup:
    """The commonest training answer to the most similar training question."""

    def __init__(self, asked: Iterable[QuestionAndAnswer], language: Language) -> None:
        """Learn answers; `language` is not needed, because questions of two languages share no word."""
        self._answers: dict[str, Counter[str]] = defaultdict(Counter)
        for question, answer in asked:
            self._answers[_plain(question)][answer] += 1
        self._words = [(frozenset(_units(question)), question) for question in self._answers]

    def answer(self, questions: Sequence[str]) -> list[str]:
        """Answer from the text of the questions."""
        return [self._one(_plain(question)) for question in questions]

    def _one(self, plain: str) -> str:
        if plain not in self._answers:
            words = frozenset(_units(plain))
            plain = max(self._words, key=lambda entry: len(words & entry[0]) / max(1, len(words | entry[0])))[1]
        return self._answers[plain].most_common(1)[0][0]


class Classifier:
    """A linear classifier of questions; its classes are the training answers."""

    def __init__(self, asked: Iterable[QuestionAndAnswer], language: Language, recipe: Recipe | None = None) -> None:
        """Train it; deterministic."""
        from sklearn.dummy import DummyClassifier
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.svm import LinearSVC

        recipe = recipe or CHOSEN[language]
        questions, answers = zip(*asked, strict=True)
        spellings: dict[str, Counter[str]] = defaultdict(Counter)
        for answer in answers:
            spellings[answer.casefold()][answer] += 1
        self._spelt = {folded: counted.most_common(1)[0][0] for folded, counted in spellings.items()}
        lengths = (1, recipe.longest)
        self._vectors = TfidfVectorizer(
            preprocessor=_plain, analyzer=recipe.unit, token_pattern=r"\S+", ngram_range=lengths, sublinear_tf=True
        )
        self._machine = LinearSVC(C=recipe.c, random_state=0) if len(self._spelt) > 1 else DummyClassifier()
        self._machine.fit(self._vectors.fit_transform(questions), [answer.casefold() for answer in answers])

    def answer(self, questions: Sequence[str]) -> list[str]:
        """Answer from the text of the questions."""
        return [self._spelt[folded] for folded in self._machine.predict(self._vectors.transform(questions))]


KINDS: dict[str, type[Lookup] | type[Classifier]] = {"question_only": Lookup, "question_trained": Classifier}


class QuestionOnlyBaseline:
    """Both, in every language of the training records."""

    def __init__(self, records: Iterable[Record]) -> None:
        """Take training records; the baselines learn them at the first question."""
        self._pairs = _pairs(records)

    @cached_property
    def _known(self) -> dict[str, dict[Language, Lookup | Classifier]]:
        return {
            name: {language: kind(pairs, language) for language, pairs in self._pairs.items()}
            for name, kind in KINDS.items()
        }

    def answers(self, question: str, language: Language) -> dict[str, str]:
        """Answer from the text alone, once for each of `KINDS`; nothing in a language without a training question."""
        return {
            name: one.answer([question])[0] if (one := known.get(language)) else "" for name, known in self._known.items()
        }


def _pairs(records: Iterable[Record]) -> dict[Language, list[QuestionAndAnswer]]:
    found: dict[Language, list[QuestionAndAnswer]] = defaultdict(list)
    for record in records:
        for annotated in record.qa if not record.dup_of_eval else ():
            found[annotated.lang].append((annotated.question, annotated.answer.strip()))
    return found


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[^\w\s]", " ", text.casefold()).split())


def _units(text: str) -> list[str]:
    return text.split() if text.isascii() else list(text)


@dataclass(frozen=True)
class Trial:
    """A recipe in one language, and the share of held-out answers that it gets right to the letter."""

    language: str
    unit: str
    longest: int
    c: float
    right: float


@dataclass(frozen=True)
class BaselineFigures:
    """MedRegA's figures of one kind of baseline on the questions of a data set in one language."""

    kind: str
    language: str
    dataset: str
    n: int
    figures: Mapping[str, Figure]


@dataclass(frozen=True, kw_only=True)
class BlindResult:
    """The result of `medrega bench blind`."""

    schema_version: int = 1
    command: str
    split: str
    environment: Environment
    chosen_on_val: Mapping[str, Trial]
    trials_on_val: tuple[Trial, ...]
    figures: tuple[BaselineFigures, ...]


def trials(train: Iterable[Record], held: Sequence[Record]) -> tuple[Trial, ...]:
    """Train every recipe; returns the best of each language first."""
    pairs, held_out = _pairs(train), _pairs(held)
    made = [
        Trial(
            language.value,
            recipe.unit,
            recipe.longest,
            recipe.c,
            _right(Classifier(pairs[language], language, recipe), questions),
        )
        for language, questions in held_out.items()
        for recipe in TRIALS[language]
    ]
    return tuple(sorted(made, key=lambda trial: (trial.language, -trial.right)))


def _right(trained: Classifier, asked: Sequence[QuestionAndAnswer]) -> float:
    answers = trained.answer([question for question, _ in asked])
    hits = [is_exact(answer, truth) for answer, (_, truth) in zip(answers, asked, strict=True)]
    return sum(hits) / len(hits)


def figures(train: Iterable[Record], records: Sequence[Record]) -> Iterator[BaselineFigures]:
    """MedRegA's figures of both on the questions of some records, per language and data set, with intervals over images."""
    pairs = _pairs(train)
    groups: dict[tuple[Language, str], list[tuple[str, str, str]]] = defaultdict(list)
    for record in records:
        for annotated in record.qa if not record.dup_of_eval else ():
            groups[annotated.lang, record.dataset].append((annotated.question, annotated.answer, record.id))
    for name, kind in KINDS.items():
        trained = {language: kind(mine, language) for language, mine in pairs.items()}
        for (language, dataset), mine in sorted(groups.items()):
            questions, truths, images = zip(*mine, strict=True)
            answers = trained[language].answer(questions)
            measured = SETTINGS[f"vqa_{language}"].measure(list(map(Pair, answers, truths)))
            yield BaselineFigures(name, language.value, dataset, len(mine), figures_of(measured, images).figures)
