"""How many answers to free questions hold something that is no word.

    python -m tools.non_words --data ../shared/data

Free questions of the split about its images, and about noise. An answer counts if a word of it is none of the package's
known answers, or if it has a stray marker, a letter of another script, or a broken character.
"""

import argparse
import io
import json
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from medrega_edge.domain import Language
from medrega_edge.engine import load
from medrega_edge.errors import UsageError
from medrega_edge.evaluation.questions import spread
from medrega_edge.evaluation.records import read_records
from medrega_edge.prompts.templates import UNSURE_ANSWER, PromptBook
from medrega_edge.vocabulary.answers import respelt

_WORD = re.compile(r"[a-z]+|[\u3400-\u9fff]+|\d+", re.IGNORECASE)
_MARKER = re.compile(r"[<>\[\]{}|\\`_]|\bref\b|\bbox\b")
_FOREIGN = {
    Language.EN: re.compile(r"[^\x20-\x7e\u2019\u00d7\u00b0\u00b5\u0370-\u03ff]"),
    Language.ZH: re.compile(r"[^\x20-\x7e\u3400-\u9fff\uff00-\uffef\u3001\u3002\u00d7\u00b0]"),
}
NOISE_SIDE = 256
SIMPLE = {
    Language.EN: ("What is abnormal here?", "Which organ is abnormal?", "Is this a healthy image?", "asdf qwer?"),
    Language.ZH: ("图中有什么异常？", "哪个器官不正常？", "这张图健康吗？", "阿斯顿发？"),
}


def words(text):
    """Return the words of a text, in lower case; a run of Chinese characters is one."""
    return [word.casefold() for word in _WORD.findall(text)]


def faults(text, language, known):
    """Return what is wrong with an answer: the kinds of fault."""
    found = set()
    if not text.strip():
        found.add("empty")
    if "\ufffd" in text or any(0xD800 <= ord(one) < 0xE000 for one in text):
        found.add("broken character")
    if _MARKER.search(text):
        found.add("marker")
    if _FOREIGN[language].search(text):
        found.add("script")
    if any(word not in known for word in words(text)):
        found.add("unknown word")
    return found


def noise(seed):
    """Return a PNG of noise: of single pixels or of blobs, grey or in colour."""
    rng = np.random.default_rng(seed)
    side = NOISE_SIDE // (1, 4, 16, 64)[seed % 4]
    pixels = rng.integers(0, 256, (side, side, 3) if seed % 2 else (side, side), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((NOISE_SIDE, NOISE_SIDE), Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


def measure(engine, asked, known):
    """Ask each question of its image; return counts, and the faulty answers."""
    counts, bad = Counter(), []
    for source, questions in asked:
        image = engine.open(source)
        for question, language in questions:
            try:
                answer = engine.answer(image, question, language)
            except UsageError:
                counts["refused"] += 1
                continue
            found = faults(answer.text, language, known[language])
            counts.update({"answers": 1, "faulty": bool(found), language.value: 1})
            counts.update(found)
            if found:
                bad.append([question, answer.text, sorted(found)])
    return {"counts": dict(sorted(counts.items())), "faulty": bad}


def questions_of(records, count):
    """Return `count` questions with images: those that the data ask, then the same questions of other images."""
    own = [(record.image, (qa.question, qa.lang)) for record in records for qa in record.qa]
    pool = list(dict.fromkeys(question for _, question in own))
    bare = spread([record for record in records if not record.qa], -(-max(0, count - len(own)) // 4))
    own = spread(own, count)
    foreign = [(record.image, pool[(4 * n + k) % len(pool)]) for n, record in enumerate(bare) for k in range(4)]
    asked = {}
    for image, question in [*own, *foreign][:count]:
        asked.setdefault(image, []).append(question)
    return list(asked.items())


def main():
    """Ask, and print counts and faulty answers as JSON; exit code 5 if there is one."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--data", type=Path, required=True, help="folder with records.jsonl")
    options.add_argument("--model", help="package; default: the one that answers")
    options.add_argument("--split", default="test")
    options.add_argument("--questions", type=int, default=2000, help="about images of the split")
    options.add_argument("--noise", type=int, default=500, help="questions about noise")
    given = options.parse_args()
    if not (given.data / "records.jsonl").is_file():
        sys.exit("This needs a data folder with records.jsonl; name one with --data.")
    records = [record for record in read_records(given.data, given.split) if not record.dup_of_eval]
    engine = load(given.model)
    book = PromptBook.from_json(engine.package.text("prompts"))
    known = {
        language: {
            word for text in (UNSURE_ANSWER[language], *book.answers.get(language, ())) for word in words(respelt(text))
        }
        for language in Language
    }
    asked = questions_of(records, given.questions)
    pool = [(text, language) for language in Language for text in SIMPLE[language]]
    pool += list(dict.fromkeys(question for _, questions in asked for question in questions))
    rounds = [(noise(n // 10), pool[n % len(pool)]) for n in range(given.noise)]
    of_noise = [
        (rounds[start][0], [question for _, question in rounds[start : start + 10]]) for start in range(0, len(rounds), 10)
    ]
    found = {"images": measure(engine, asked, known), "noise": measure(engine, of_noise, known)}
    sys.stdout.write(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    if any(one["faulty"] for one in found.values()):
        sys.exit(5)


if __name__ == "__main__":
    main()
