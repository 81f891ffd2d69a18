"""The tree of errors that a user may see, and their exit codes.

MedregaError                 never raised itself; the command line catches exactly this
├── UsageError          2    the question, an option or a line of input does not make sense
├── ImageError          3    the image cannot be used
│   └── ChoiceError     3    it holds several pictures, and none was chosen
├── PackageError        4    the model package cannot be used
├── GateError           5    a measured figure misses its threshold
├── ResourceError       6    a device, memory, room on a disk or an optional part is not there
└── InternalError      70    the program itself failed

Every message is one sentence that says what is wrong, where, and what to do next. None holds pixels or header values of
a patient, nor the name of an image or of a file of answers: people put names of patients there. The command line repeats
a path that was typed and is not there.
"""

from __future__ import annotations

from pathlib import Path
from traceback import walk_tb
from typing import Any, Self

from medrega_edge.i18n.message import Message


class MedregaError(Exception):
    """Root of all errors meant for the user: `XError("area.what", name=value)`.

    `message` holds the code and the parameters; `str(error)` is its English sentence. `exit_code` is that of the process.
    """

    exit_code: int = 1
    kind: str = "error"
    message: Message

    def __init__(self, code: str, /, **params: Any) -> None:
        """Take the code of a template and its parameters, by their names."""
        self.message = Message(code, **params)

    @classmethod
    def of(cls, message: Message) -> Self:
        """The error that says `message`."""
        error = cls.__new__(cls)
        error.message = message
        return error

    @property
    def code(self) -> str:
        """The code of the message: what programs and tests can rely on."""
        return self.message.code

    def __str__(self) -> str:
        return str(self.message)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).of, (self.message,)

    def to_dict(self) -> dict[str, Any]:
        """Return what stands as "error" in JSON."""
        return {"kind": self.kind, **self.message.to_dict(), "exit_code": self.exit_code}


class UsageError(MedregaError):
    """The request itself is wrong: an unknown task, an unparsable box, a malformed line."""

    exit_code = 2
    kind = "usage"


class ImageError(MedregaError):
    """The image is missing, unreadable, of an unknown format, or of a size that cannot be used."""

    exit_code = 3
    kind = "image"


class ChoiceError(ImageError):
    """The file holds `count` pictures, and none was chosen; `option` of the command line would choose one."""

    def __init__(self, code: str, /, count: int, option: str, **params: Any) -> None:
        """Take what a caller needs to go through all of them; its template shows both."""
        super().__init__(code, count=count, option=option, **params)

    @property
    def count(self) -> int:
        """Number of pictures."""
        return int(self.message.params["count"])

    @property
    def option(self) -> str:
        """Option of the command line that chooses one."""
        return str(self.message.params["option"])


class PackageError(MedregaError):
    """The model package is missing, incomplete, altered, or written by a newer version."""

    exit_code = 4
    kind = "package"


class GateError(MedregaError):
    """A measured figure misses the threshold it was held against."""

    exit_code = 5
    kind = "gate"


class ResourceError(MedregaError):
    """A device, memory, or an optional part of the installation is not there."""

    exit_code = 6
    kind = "resource"


class InternalError(MedregaError):
    """A fault of the program. It tells where, not what: the words of another library's error may be a patient's."""

    exit_code = 70
    kind = "internal"

    def __init__(self, error: BaseException) -> None:
        """Describe `error` by its type and by the innermost line of this program that it passed."""
        passed = [frame for frame, _ in walk_tb(error.__traceback__)]
        ours = [frame for frame in passed if frame.f_globals.get("__name__", "").startswith(f"{__package__}.")]
        place = "".join(f"{Path(f.f_code.co_filename).name}:{f.f_lineno}" for f in (ours or passed)[-1:])
        super().__init__("internal.fault", type=type(error).__name__, place=place or "?")
