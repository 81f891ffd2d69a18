"""Assertions on errors by class, code and parameters."""

from contextlib import contextmanager

import pytest


@contextmanager
def raises_code(error, code, /, **params):
    """Assert that the block raises this class of error with this code, these parameters among its own, in one line."""
    with pytest.raises(error) as caught:
        yield caught
    assert caught.value.code == code
    assert caught.value.message.params == dict(caught.value.message.params) | params
    assert "\n" not in str(caught.value)
