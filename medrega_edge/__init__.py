"""Region-aware, bilingual medical vision-language model on an ordinary workstation.

    import medrega_edge

    engine = medrega_edge.load()
    image = engine.open("scan.png")
    answer = engine.ask(image, "locate the liver")
    print(answer.text, answer.regions)

Research use only - not a medical device. Importing this package loads nothing heavy: a name is imported at its first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from medrega_edge.answer import Answer, Label, Region
    from medrega_edge.boxes import PixelBox
    from medrega_edge.domain import Language, Modality, Task
    from medrega_edge.engine import EncodedImage, Engine, load
    from medrega_edge.errors import (
        ChoiceError,
        GateError,
        ImageError,
        InternalError,
        MedregaError,
        PackageError,
        ResourceError,
        UsageError,
    )
    from medrega_edge.images.medical_image import MedicalImage, View
    from medrega_edge.images.reader import read_image
    from medrega_edge.masks import Mask
    from medrega_edge.package.package import Package
    from medrega_edge.package.registry import find_package, list_packages
    from medrega_edge.tasks.classification import Classify
    from medrega_edge.tasks.detection import Detect
    from medrega_edge.tasks.identification import Identify
    from medrega_edge.tasks.reporting import Report
    from medrega_edge.tasks.segmentation import Segment
    from medrega_edge.tasks.vqa import AnswerQuestion

__all__ = [
    "Answer",
    "AnswerQuestion",
    "ChoiceError",
    "Classify",
    "Detect",
    "EncodedImage",
    "Engine",
    "GateError",
    "Identify",
    "ImageError",
    "InternalError",
    "Label",
    "Language",
    "Mask",
    "MedicalImage",
    "MedregaError",
    "Modality",
    "Package",
    "PackageError",
    "PixelBox",
    "Region",
    "Report",
    "ResourceError",
    "Segment",
    "Task",
    "UsageError",
    "View",
    "__version__",
    "find_package",
    "list_packages",
    "load",
    "read_image",
]

_MODULES = {
    "answer": ("Answer", "Label", "Region"),
    "boxes": ("PixelBox",),
    "domain": ("Language", "Modality", "Task"),
    "engine": ("EncodedImage", "Engine", "load"),
    "errors": tuple(name for name in __all__ if name.endswith("Error")),
    "images.medical_image": ("MedicalImage", "View"),
    "images.reader": ("read_image",),
    "masks": ("Mask",),
    "package.package": ("Package",),
    "package.registry": ("find_package", "list_packages"),
    "tasks.classification": ("Classify",),
    "tasks.detection": ("Detect",),
    "tasks.identification": ("Identify",),
    "tasks.reporting": ("Report",),
    "tasks.segmentation": ("Segment",),
    "tasks.vqa": ("AnswerQuestion",),
}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use. The version is looked up then too, because that takes 30 ms."""
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("medrega-edge")
        except PackageNotFoundError:  # run from a source tree that was never installed
            return "0+unknown"
    for module, names in _MODULES.items():
        if name in names:
            from importlib import import_module

            return getattr(import_module(f"medrega_edge.{module}"), name)
    raise AttributeError(f"module 'medrega_edge' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
