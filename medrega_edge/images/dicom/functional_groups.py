"""Functional groups of multi-frame files (PS3.3 C.7.6.16): a frame's own item, else the shared one, else the dataset."""

from __future__ import annotations

from typing import Any

from pydicom.dataset import Dataset


def functional_group(dataset: Dataset, frame: int, group: str, *keywords: str) -> Dataset:
    """The first item that holds one of `keywords` for `frame`, counted from 0: its own, the shared one, or the dataset.

    Read all values that belong together from the item returned, so that they come from one place.
    """
    own = dataset.get("PerFrameFunctionalGroupsSequence")
    shared = dataset.get("SharedFunctionalGroupsSequence")
    for groups in (own[frame] if own and frame < len(own) else None, shared[0] if shared else None):
        items = groups.get(group) if groups else None
        if items and any(keyword in items[0] for keyword in keywords):
            return items[0]
    return dataset


def frame_value(dataset: Dataset, frame: int, group: str, keyword: str) -> Any:
    """A single value of `frame`; None if neither a functional group nor the dataset holds it."""
    return functional_group(dataset, frame, group, keyword).get(keyword)
