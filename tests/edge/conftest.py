"""What the tests of questions share."""

import pytest

from medrega_edge.domain import Task
from medrega_edge.tasks.intent import parse_intent
from medrega_edge.tasks.scene import Scene


@pytest.fixture(scope="session")
def terminology(engine):
    """The names that the default package knows."""
    return engine.terminology


@pytest.fixture
def parse(terminology):
    """Read a question about an image of a modality."""
    return lambda text, modality: parse_intent(text, Scene(list(Task), terminology, modality))
