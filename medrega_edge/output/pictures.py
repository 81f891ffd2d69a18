"""Marked pictures of many answers, in a folder."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medrega_edge.answer import Answer
from medrega_edge.io.atomic import make_folder
from medrega_edge.output.overlay import draw_answer, save_png

if TYPE_CHECKING:
    from medrega_edge.engine import EncodedImage


@dataclass(frozen=True)
class PictureFolder:
    """Writes marked pictures into `folder` and its subfolders; it can be sent to another process."""

    folder: Path

    def __call__(self, image: EncodedImage, answer: Answer, name: str) -> str:
        """Write the picture `name`.png; returns its path in the folder. Raises UsageError or ResourceError."""
        picture = f"{name}.png"
        target = self.folder / picture
        make_folder(target.parent)
        save_png(draw_answer(image.image, answer), target)
        return picture

    def remove(self, pictures: Iterable[str]) -> None:
        """Remove these pictures, and the folders that are empty then."""
        folders = {self.folder}
        for picture in pictures:
            target = self.folder / picture
            target.unlink(missing_ok=True)
            folders |= {one for one in target.parents if one.is_relative_to(self.folder)}
        for folder in sorted(folders, key=lambda one: len(one.parts), reverse=True):
            with suppress(OSError):  # something else is in it
                folder.rmdir()
