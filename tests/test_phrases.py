"""Phrasings by writers who had not seen the code: most of them are understood.

The question layer was tuned on `tuned_*.jsonl`; `held_*.jsonl` only measure it. The limits lie a little below the shares of
2026-11-29 (held: English 97.7, Chinese 95.7 %), so that CI notices a fall.
"""

from pathlib import Path

import pytest

from medrega_edge.package.registry import find_package
from medrega_edge.prompts.templates import PromptBook
from medrega_edge.vocabulary.terminology import Terminology
from tools.understood import shares

FOLDER = Path(__file__).parent / "phrases"
LEAST = {"tuned_en": 0.96, "tuned_zh": 0.96, "held_en": 0.96, "held_zh": 0.94}


@pytest.mark.slow
@pytest.mark.parametrize("phrases", sorted(FOLDER.glob("*.jsonl")), ids=lambda path: path.stem)
def test_phrasings_are_understood(phrases):
    terminology = Terminology(PromptBook.from_json(find_package().text("prompts")).labels)
    asked, right, misses = shares(phrases, terminology)
    assert sum(right.values()) / sum(asked.values()) >= LEAST[phrases.stem], misses
