"""The tree of errors that a user may see. Knows exit codes; knows nothing of the modules that raise.

MedregaError                 never raised itself; the command line catches exactly this
├── UsageError          2    the question, an option or a line of input does not make sense
├── ImageError          3    the image cannot be used
├── PackageError        4    the model package cannot be used
├── GateError           5    a measured figure misses its threshold
└── ResourceError       6    a device, memory or an optional part is not there

Every message is one sentence that says what is wrong, where, and what to do next. None holds pixels or header values of
a patient.
"""


class MedregaError(Exception):
    """Root of all errors meant for the user. `exit_code` is the process's exit status."""

    exit_code: int = 1
    kind: str = "error"


class UsageError(MedregaError):
    """The request itself is wrong: an unknown task, an unparsable box, a malformed line."""

    exit_code = 2
    kind = "usage"


class ImageError(MedregaError):
    """The image is missing, unreadable, of an unknown format, or of a size that cannot be used."""

    exit_code = 3
    kind = "image"


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
