"""A result of a run without anything that names a person or a host: fit to be shown to strangers, and merged with others.

Of texts only these are copied: what the system calls its processor and its graphics card where it looks like a model of
one, versions, a precision, and the name of a package of ours. Any other is written as "other" or left out. Ids, questions,
answers, the command, names of folders and times of day are never taken over.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from packaging.version import InvalidVersion, Version
from pydantic import AfterValidator, StringConstraints

from medrega_bench.datasets import quick_set
from medrega_bench.evaluation.headline import Headline, headlines
from medrega_bench.evaluation.measure import read_result
from medrega_bench.evaluation.results import RUN, AnswerRow, PackageResult, RunResult
from medrega_bench.performance.environment import DISTRIBUTIONS, INT8_FLAGS, Environment
from medrega_bench.performance.quietness import Quietness
from medrega_bench.result_files import DataIdentity, optional, parse, to_json_values
from medrega_edge.domain import NOTICE
from medrega_edge.errors import UsageError
from medrega_edge.io.safe_text import json_text

PACKAGES = ("medrega-edge-nano", "medrega-edge-lite", "random-tiny", "random-0.5b", "random-1b")
OTHER = "other"
_SYSTEMS = ("Linux", "Darwin", "Windows")
_HARDWARE = re.compile(r"(?:[A-Za-z0-9_()@.,+ -]|(?<=\d)/(?=\d)){1,80}")  # a slash in "6000/8000" only: no path is one
# Some word of each model is one of these; a virtual machine's owner may have typed any other.
_HARDWARE_WORDS = re.compile(
    r"(?:\b|_)(?:intel(?:64)?|amd(?:64)?|apple|arm(?:v\d+|64)?|aarch64|x86|i?[36]86|ppc64(?:le)?|power\d*|riscv(?:64)?|s390x|"
    r"neoverse|cortex|ampere|graviton\d?|kunpeng|phytium|loongson|hygon|zhaoxin|qualcomm|snapdragon|cpu|processor|gpu|nvidia|"
    r"tesla|quadro|geforce|radeon|xeon|epyc|ryzen|core)(?:\b|_)",
    re.IGNORECASE | re.ASCII,
)
_PERSON_OR_HOST = re.compile(r"\S@|@\S|\.[A-Za-z]|\d\.\d+\.")  # jane@x, x.example, 10.0.0.1
_PRECISION = re.compile(r"(?:gptq|awq|rtn|int|fp|bf|float|g|head|vision|static|dynamic)?\d*", re.ASCII)  # each word of one

VersionText = Annotated[str, StringConstraints(pattern=r"^[0-9][0-9a-z.!]{0,20}$")]
Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8,64}$")]


def _check_hardware(text: str) -> str:
    if text != OTHER and text != _hardware(text):
        raise ValueError
    return text


Hardware = Annotated[str, AfterValidator(_check_hardware)]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine by its hardware and versions; `card` of a headline is its graphics card."""

    processor: Hardware
    threads: int
    memory_gib: float | None
    system: Literal["Linux", "Darwin", "Windows", "other"]
    python: VersionText | None
    versions: Mapping[str, VersionText | None]
    int8_flags: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Model:
    """The package that was measured; "other" stands for a name that is none of ours."""

    name: Literal["medrega-edge-nano", "medrega-edge-lite", "random-tiny", "random-0.5b", "random-1b", "other"]
    version: VersionText | None
    precision: Annotated[str, StringConstraints(max_length=60)]
    sha256: Hex
    mib: float


@dataclass(frozen=True, kw_only=True)
class Questions:
    """What was asked: the quick set, or somebody's own data. Equal hashes mean equal questions and truths."""

    data: Literal["quick", "own"]
    split: Literal["train", "val", "test"] | None
    questions: int
    images: int
    sha256: Hex


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What `medrega bench submit` writes: one package on one machine, a headline for each device."""

    schema_version: Literal[1] = 1
    kind: Literal["submission"] = "submission"
    notice: str = NOTICE
    measured: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\d$")]
    commit: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{7,40}\+?$")] | None
    machine: Machine
    read_bandwidth_gb_per_second: float | None
    quietness: Quietness | None = optional()
    package: Model
    questions: Questions
    headlines: tuple[Headline, ...]


@dataclass(frozen=True, kw_only=True)
class Machines:
    """Several of them in one file: what `medrega bench compare` of machines writes as JSON."""

    schema_version: Literal[1] = 1
    kind: Literal["machines"] = "machines"
    notice: str = NOTICE
    results: tuple[Submission, ...]


def submission(result: RunResult) -> Submission:
    """Take over what names nobody; raises UsageError if a field is not as a result has it."""
    made = Submission(
        measured=result.measured[:10],
        commit=result.commit if re.fullmatch(r"[0-9a-f]{7,40}\+?", result.commit or "") else None,
        machine=_machine(result.environment),
        read_bandwidth_gb_per_second=result.read_bandwidth_gb_per_second,
        quietness=result.quietness,
        package=_model(result.package),
        questions=_questions(result.data, result.package.rows),
        headlines=tuple(replace(one, card=one.card and _hardware(one.card)) for one in headlines(result.package)),
    )
    return parse(Submission, to_json_values(made), RUN)


def read_kind(path: Path) -> str | None:
    """Return what kind of result a file says it is, None where it says nothing; raises UsageError if it cannot be read."""
    kind = _content(path).get("kind")
    return kind if isinstance(kind, str) else None


def read_machines(path: Path) -> tuple[Submission, ...]:
    """Read a result of a run (of a folder the newest), a submission or a file of several; raises UsageError otherwise."""
    if path.is_dir():
        return (submission(read_result(path)),)
    content = _content(path)
    kind = content.get("kind")
    if kind == "submission":
        return (parse(Submission, content, path.name),)
    if kind == "machines":
        return parse(Machines, content, path.name).results
    if kind == RUN:
        return (submission(read_result(path)),)
    raise UsageError("bench.not_of_a_machine", file=path.name)


def _content(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError("bench.result_file_unreadable", file=path.name, reason=str(error.strerror)) from None
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _machine(machine: Environment) -> Machine:
    return Machine(
        processor=_hardware(machine.processor),
        threads=machine.threads,
        memory_gib=machine.memory_gib,
        system=cast(Any, machine.system if machine.system in _SYSTEMS else OTHER),
        python=_version(machine.python),
        versions={name: text and _version(text) for name, text in machine.versions.items() if name in DISTRIBUTIONS},
        int8_flags=tuple(flag for flag in machine.int8_flags or () if flag in INT8_FLAGS),
    )


def _model(package: PackageResult) -> Model:
    model = package.model
    return Model(
        name=cast(Any, model.name if model.name in PACKAGES else OTHER),
        version=_version(model.version),
        precision=model.precision if all(map(_PRECISION.fullmatch, re.split(r"[-+, ]+", model.precision))) else OTHER,
        sha256=model.sha256,
        mib=package.mib,
    )


def _questions(data: DataIdentity, rows: tuple[AnswerRow, ...]) -> Questions:
    """Hash the questions and not the pictures' files, which another version of a library may compress otherwise."""
    asked = [[row.id, row.setting, row.question, row.truth] for row in rows]
    return Questions(
        data="quick" if (data.name, data.split) == (quick_set.NAME, None) else "own",
        split=cast(Any, data.split if data.split in ("train", "val", "test") else None),
        questions=data.questions,
        images=data.images,
        sha256=hashlib.sha256(json_text(asked).encode()).hexdigest()[:16],
    )


def _hardware(text: str) -> str:
    """The text if it looks like a model of a processor or of a graphics card, else "other"."""
    looks_so = _HARDWARE.fullmatch(text) and _HARDWARE_WORDS.search(text) and not _PERSON_OR_HOST.search(text)
    return text if looks_so else OTHER


def _version(text: str) -> str | None:
    """The public part of a version, without what a builder added; None for a text that is none."""
    try:
        return Version(text).public
    except InvalidVersion:
        return None
