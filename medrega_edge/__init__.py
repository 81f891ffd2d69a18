"""Region-aware, bilingual medical vision-language model on an ordinary workstation.

    import medrega_edge

    engine = medrega_edge.load()
    image = engine.open("scan.png")
    answer = engine.ask(image, "locate the liver")
    print(answer.text, answer.regions)

Research use only - not a medical device. Importing this package loads nothing heavy: names arrive when they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from medrega_edge.answer import Answer, Region
    from medrega_edge.engine import EncodedImage, Engine, load

__all__ = ["Answer", "EncodedImage", "Engine", "Region", "__version__", "load"]

_HOMES = {"Answer": "answer", "Region": "answer", "EncodedImage": "engine", "Engine": "engine", "load": "engine"}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used; find out the version when it is asked for, which takes 30 ms."""
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("medrega-edge")
        except PackageNotFoundError:  # run from a source tree that was never installed
            return "0+unknown"
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"medrega_edge.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'medrega_edge' has no attribute '{name}'")
