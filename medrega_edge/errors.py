"""The tree of errors that a user may see. Knows exit codes; knows nothing of the modules that raise.

MedregaError                 never raised itself; the command line catches exactly this
├── UsageError          2    the question, an option or a line of input does not make sense
├── ImageError          3    the image cannot be used
│   └── ChoiceError     3    it holds several pictures, and none was chosen
├── PackageError        4    the model package cannot be used
├── GateError           5    a measured figure misses its threshold
├── ResourceError       6    a device, memory, room on a disk or an optional part is not there
└── InternalError      70    the program itself failed

Every message is one sentence that says what is wrong, where, and what to do next. None holds pixels or header values of
a patient, nor the name of an image or of a file of answers: people put names of patients there.
"""

from pathlib import Path
from traceback import walk_tb
from typing import Any


class MedregaError(Exception):
    """Root of all errors meant for the user. `exit_code` is the process's exit status."""

    exit_code: int = 1
    kind: str = "error"

    def to_dict(self) -> dict[str, Any]:
        """Return what stands as "error" in JSON."""
        return {"kind": self.kind, "message": str(self), "exit_code": self.exit_code}


class UsageError(MedregaError):
    """The request itself is wrong: an unknown task, an unparsable box, a malformed line."""

    exit_code = 2
    kind = "usage"


class ImageError(MedregaError):
    """The image is missing, unreadable, of an unknown format, or of a size that cannot be used."""

    exit_code = 3
    kind = "image"

    def __init__(self, message: str) -> None:
        """Begin the sentence with a capital, whatever the image is called in it."""
        super().__init__(message[0].upper() + message[1:])


class ChoiceError(ImageError):
    """The file holds `count` pictures, and none was chosen; `option` of the command line would choose one."""

    def __init__(self, message: str, count: int, option: str) -> None:
        """Keep what a caller needs to go through all of them."""
        super().__init__(message)
        self.count, self.option = count, option


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
        where = "".join(f" at {Path(f.f_code.co_filename).name}:{f.f_lineno}" for f in (ours or passed)[-1:])
        super().__init__(f"The program itself failed ({type(error).__name__}{where}); that is a fault of ours: report it.")
