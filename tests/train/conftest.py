"""Fixtures of the training's tests."""

import pytest


@pytest.fixture(autouse=True)
def new_accelerator(request):
    """Forget the precision of the test before: a process has one, and processors with bfloat16 choose another."""
    yield
    if request.node.get_closest_marker("slow") or request.node.get_closest_marker("train"):
        from accelerate.state import AcceleratorState

        AcceleratorState._reset_state(reset_partial_state=True)
