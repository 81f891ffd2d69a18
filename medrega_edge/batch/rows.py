"""Rows of a batch: an answer without its timings under its id, or an error.

The same question about the same bytes gives the same row, whoever answers it. One failed row does not stop the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medrega_edge.batch.parts import Row
from medrega_edge.errors import ChoiceError, InternalError, MedregaError, ResourceError

if TYPE_CHECKING:
    from medrega_edge.answer import Answer
    from medrega_edge.engine import EncodedImage

SavePicture = Callable[["EncodedImage", "Answer", str], str]


@dataclass(frozen=True)
class RowOptions:
    """What a row holds beside the answer.

    Without `de_identified` it names its file as `image.path`: relative to the folder, or as the line of questions has it.
    `save_picture` writes the marked picture under the name it gets, without an ending, and returns the name with it, which
    is the row's `picture`. It can be sent to another process. `min_confidence` is that of `Engine.run`.
    """

    de_identified: bool = False
    save_picture: SavePicture | None = None
    min_confidence: float = 0.0

    def path(self, name: str) -> str | None:
        """The `image.path` of a row about this file."""
        return None if self.de_identified else name


def answered_row(
    row_id: object,
    ask: Callable[[], tuple[EncodedImage, Answer]],
    path: str | None,
    picture_name: str,
    options: RowOptions,
    raise_choice: bool = False,
) -> Row:
    """The answer that `ask` returns, or its error; a ChoiceError is raised on request."""
    try:
        image, answer = ask()
        row = answer.to_dict()
        if options.save_picture is not None:
            row["picture"] = options.save_picture(image, answer, picture_name)
    except MedregaError as error:
        if (raise_choice and isinstance(error, ChoiceError)) or error.code == "io.no_space":
            raise
        return failed_row(row_id, error, path)
    except MemoryError:
        return failed_row(row_id, ResourceError("batch.image_memory"), path)
    except Exception as error:  # a fault in one row costs that row, not the whole job
        return failed_row(row_id, InternalError(error), path)
    row["image"]["path"] = path
    del row["timings_ms"]
    return {"id": row_id} | row


def failed_row(row_id: object, error: MedregaError, path: str | None = None) -> Row:
    """The row of a question that got no answer."""
    place = {} if path is None else {"image": {"path": path}}
    return {"id": row_id, "error": error.to_dict()} | place
