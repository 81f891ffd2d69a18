"""25 random checkpoints: exported as transformers computes them, or refused for what was drawn to be refused.

`python -m tools.random_checkpoints 500` is the long form.
"""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = pytest.mark.export
for name in ("torch", "transformers", "onnx"):
    pytest.importorskip(name)

from tools.random_checkpoints import check, draw

NUMBERS = range(25)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_random_checkpoint(number: int, tmp_path: Path) -> None:
    outcome = check(number, tmp_path)
    assert outcome == "equal" or outcome.startswith("export.")


def test_most_of_them_are_exported() -> None:
    drawn = [draw(number) for number in NUMBERS]
    assert sum(not one.unsupported for one in drawn) >= 15
    assert {one.is_chat for one in drawn} == {True, False} and {one.shuffle for one in drawn} == {"v1", "v2"}
