"""How often two answers about one image state the same: over languages, and over ask, locate, classify, report and --cot.

    python -m tools.consistency --data ../shared/data --images 200

Facts: the kind of image, the body part, whether a name is there, perhaps, or not found, the class in each label set for such
images. Each statement is compared with the first one about the same fact.
"""

import argparse
import json
import sys
from collections import Counter, defaultdict
from pathlib import Path

from medrega_edge.answer import GUESSED_CLASSES, OTHER_CLASS
from medrega_edge.domain import Language
from medrega_edge.engine import load
from medrega_edge.errors import UsageError
from medrega_edge.evaluation.questions import spread
from medrega_edge.evaluation.records import read_records
from medrega_edge.prompts.templates import PromptBook
from medrega_edge.tasks import report_sentences
from medrega_edge.tasks.classes import CERTAIN_CLASS
from medrega_edge.tasks.classification import Classify
from medrega_edge.vocabulary.answers import is_yes
from medrega_edge.vocabulary.label_sets import BODY_PARTS, FINDINGS, LABEL_SETS, MODALITY_NAMES

KIND = {Language.EN: "What kind of image is this?", Language.ZH: "这是什么类型的图像？"}
PART = {Language.EN: "Which part of the body is this?", Language.ZH: "这是哪个部位？"}
PRESENCE = {Language.EN: "Is there a {name}?", Language.ZH: "图中有{name}吗？"}


CLOSED = {Language.EN: "Does the picture contain {name}?", Language.ZH: "图片中包含{name}吗？"}


def state_of(answer, shown):
    """Whether an answer of boxes says that a name is found, perhaps there, or not found."""
    if not any(region.label == shown for region in answer.regions):
        return "not found"
    return "perhaps" if shown in answer.best_guesses else "found"


def state_in_words(answer):
    """The same of an answer by yes or no; None for other words."""
    said = is_yes(answer.text)
    return "perhaps" if answer.guess is not None else {True: "found", False: "not found", None: None}[said]


class Statements:
    """Statements about facts of one image: by the fact, who said what."""

    def __init__(self, engine, image, names):
        """Collect them for `names`, pairs of English and Chinese."""
        self.of = defaultdict(list)
        self.refused = Counter()
        self._engine, self._image = engine, image
        for language in Language:
            self._plain(language)
            for name in names:
                self._presence(name, language)
            self._classes(language)
            self._report(language)

    def _ask(self, question, language, cot=False):
        """Ask as a user does; None for a refusal."""
        try:
            request = self._engine.request(self._image, question, regional_chain_of_thought=cot)
            return self._engine.run(self._image, request, language)
        except UsageError as error:
            self.refused[error.code] += 1
            return None

    def _plain(self, language):
        for cot in (False, True):
            if answer := self._ask(KIND[language], language, cot):
                self.of["kind"].append(answer.facts.get("modality"))
            if answer := self._ask(PART[language], language, cot):
                self.of["body part"].append(answer.facts.get("body_part"))

    def _presence(self, name, language):
        english, shown = name[0], name[language is Language.ZH]
        fact = f"there: {english}"
        for cot in (False, True):
            if (answer := self._ask(PRESENCE[language].format(name=shown), language, cot)) and answer.task == "detect":
                self.of[fact].append(state_of(answer, shown))
        answer = self._engine.detect(self._image, [shown], language)
        self.of[fact].append(state_of(answer, shown))
        in_words = state_in_words(self._engine.answer(self._image, CLOSED[language].format(name=shown), language))
        self.of[fact] += [in_words] if in_words else []
        doubts = any(warning.code == OTHER_CLASS for warning in answer.warnings)
        for label_set in LABEL_SETS.values():
            if answer.regions and self._fits(label_set) and english in label_set.names(Language.EN):
                self.of[f"class may be {english}"].append(not doubts)

    def _fits(self, label_set):
        return self._engine.modality(self._image) in label_set.modalities

    def _classes(self, language):
        for label_set in filter(self._fits, LABEL_SETS.values()):
            names = label_set.names(language)
            for cot in (False, True):
                answer = self._engine.run(self._image, Classify(label_set.name, regional_chain_of_thought=cot), language)
                chosen = sorted(label_set.names(Language.EN)[names.index(label.label)] for label in answer.labels)
                self.of[f"class: {label_set.name}"].append(chosen)
            is_sure = all(label.confidence >= CERTAIN_CLASS for label in answer.labels)
            is_sure = is_sure and not any(warning.code in GUESSED_CLASSES for warning in answer.warnings)
            for english in label_set.names(Language.EN):
                if f"class may be {english}" in self.of:
                    self.of[f"class may be {english}"].append(english in chosen or not is_sure)

    def _report(self, language):
        answer = self._engine.report(self._image, language)
        opening = answer.text.split("." if language is Language.EN else "。")[0]
        kinds = {pair[language is Language.ZH]: kind for kind, pair in MODALITY_NAMES.items()}
        kind = next(
            (kinds[name] for name in sorted(kinds, key=len, reverse=True) if opening.casefold().startswith(name.casefold())),
            None,
        )
        self.of["kind"].append(kind)
        parts = {(chinese if language is Language.ZH else english): english for english, chinese in BODY_PARTS.items()}
        part = next((part for name, part in parts.items() if opening.endswith((f"of the {name}", f"，{name}"))), None)
        if part:
            self.of["body part"].append(part)
        english = {pair[language is Language.ZH]: pair[0] for pair in (*self._engine.terminology.labels, *FINDINGS.items())}
        named = report_sentences.names_in(answer.text, language)
        self.of["report"].append(sorted(f"{topic}: {english.get(name, name)}" for topic, each in named for name in each))
        labels = {known for known, _ in self._engine.terminology.labels}
        for topic, name in ((topic, english.get(name, name)) for topic, each in named for name in each):
            if name in labels:
                said = "perhaps" if topic is report_sentences.Sentence.PERHAPS else "found"
                self.of[f"there: {name}"] += [said, state_of(self._engine.detect(self._image, [name], "en"), name)]
            if topic is report_sentences.Sentence.PERHAPS:
                continue
            for label_set in filter(self._fits, LABEL_SETS.values()):
                if name in label_set.names(Language.EN):
                    self.of[f"class: {label_set.name}"].append([name] if not label_set.multiple else None)


def measure(engine, records, count):
    """Return how many statements agree with the first one about their fact, by kind of fact, and what contradicts."""
    counts, refused, bad = Counter(), Counter(), []
    known = dict(engine.terminology.labels)
    book = PromptBook.from_json(engine.package.text("prompts"))
    for number, record in enumerate(spread(records, count)):
        image = engine.open(record.image)
        shown = [region.label_en for region in record.targets if region.label_en in known]
        others = [name for name in known if book.can_show(record.modality, name) and name not in shown]
        turn = 7 * number % max(1, len(others))
        names = [*dict.fromkeys([*shown[:3], *(others[turn:] + others[:turn])[:2]])]
        statements = Statements(engine, image, [(name, known[name]) for name in names])
        refused += statements.refused
        for fact, said in statements.of.items():
            said = [one for one in said if one is not None] if fact.startswith("class:") else said
            same = sum(one == said[0] for one in said[1:])
            counts.update({("all", "statements"): len(said) - 1, ("all", "agree"): same})
            group = fact.split(":")[0].split(" is ")[0]
            counts.update({(group, "statements"): len(said) - 1, (group, "agree"): same})
            if same < len(said) - 1:
                bad.append([record.id, fact, *dict.fromkeys(map(str, said))])
    groups = sorted({group for group, _ in counts})
    table = {group: {what: counts[group, what] for what in ("statements", "agree")} for group in groups}
    for cell in table.values():
        cell["share"] = round(cell["agree"] / max(1, cell["statements"]), 4)
    return {"agreement": table, "refused": dict(refused), "contradictions": bad}


def main():
    """Measure a package and print counts and contradictions as JSON."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--data", type=Path, required=True, help="folder with records.jsonl")
    options.add_argument("--model", help="package; default: the one that answers")
    options.add_argument("--split", default="val")
    options.add_argument("--images", type=int, default=200, help="spread over the split")
    given = options.parse_args()
    if not (given.data / "records.jsonl").is_file():
        sys.exit("This needs a data folder with records.jsonl; name one with --data.")
    records = [record for record in read_records(given.data, given.split) if not record.dup_of_eval]
    found = measure(load(given.model), records, given.images)
    sys.stdout.write(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
