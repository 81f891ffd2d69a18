"""The manifest of a model package: what each file is, and the numbers that the runtime needs before it opens one."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from medrega_edge.errors import PackageError
from medrega_edge.io.strict_json import STRICT, Count, JsonFault, Number, Share, load_json, parse_json

SCHEMA_VERSION = 1  # of a package without a region head,
REGION_SCHEMA_VERSION = 2  # and of one that has one
MANIFEST = "manifest.json"
FILE_NAMES = {  # role -> the name that export gives its file
    "vision": "vision.onnx",
    "decoder": "decoder.onnx",
    "embeddings": "embeddings.npy",
    "tokenizer": "tokenizer.json",
    "prompts": "prompts.json",
    "certificate": "certificate.json",
    "card": "README.md",
}
ROLES = tuple(FILE_NAMES)
REGION_HEAD = "region_head"
REGION_HEAD_FILE = "region_head.onnx"  # the name that export gives it
PREFILL, PREFILL_FILE = "prefill", "prefill.onnx"  # a second graph of the language model, which reads images
MASK_HEAD, MASK_HEAD_FILE = "mask_head", "mask_head.onnx"  # read when a mask is first asked for
INTERVALS, INTERVALS_FILE = "intervals", "intervals.json"  # `medrega bench calibrate` adds it
FAMILIAR_IMAGES, FAMILIAR_NAMES, FAMILIAR_QUESTIONS = "familiar_images", "familiar_names", "familiar_questions"
# With the names of their files. `medrega bench familiarity` adds them.
FAMILIARITY_ROLES = {
    FAMILIAR_IMAGES: "familiar_images.npy",
    FAMILIAR_NAMES: "familiar_names.json",
    FAMILIAR_QUESTIONS: "familiar_questions.json",
}
DATA = "_data"  # ends the role of a graph's weights that have a file of their own
OPTIONAL_ROLES = (
    *(REGION_HEAD, MASK_HEAD, PREFILL, INTERVALS, *FAMILIARITY_ROLES),
    *(role + DATA for role in ("decoder", "vision", PREFILL)),
)
_ABOUT_WEIGHTS = ("certificate", "card", INTERVALS, *FAMILIARITY_ROLES)  # roles that no answer's boxes and masks depend on


@dataclass(frozen=True)
class FileEntry:
    """One file of a package; `path` is relative to the folder, with forward slashes."""

    __pydantic_config__ = STRICT

    path: str
    sha256: str
    bytes: Count
    precision: str


@dataclass(frozen=True)
class VisionSpec:
    """The tower's graph: `input` float32 `[1, 3, image_size, image_size]` -> `output` float32 `[1, tokens, hidden]`.

    `fit` says how an image becomes a square: "stretch" changes its proportions; "pad" fits its longest side, puts it at the
    upper left and fills the rest with the mean.
    """

    __pydantic_config__ = STRICT

    input: str
    output: str
    image_size: Count
    mean: tuple[Number, Number, Number]
    std: tuple[Number, Number, Number]
    tokens: Count
    fit: Literal["stretch", "pad"] = "stretch"


@dataclass(frozen=True)
class DecoderSpec:
    """The language model's graph, with its key/value cache as inputs and outputs.

    `embeds` float32 `[1, S, hidden]`; `last_position` int32 `[1]`, the total length minus one; `total_length` int32 scalar;
    per layer i `past_key.format(i)` and `past_value.format(i)` float32 `[1, kv_heads, context, head_dim]`, returned as
    `present_key` and `present_value` in the same memory; `logits` float32 `[1, vocabulary]` of the last position;
    `hidden_state`, if it is not empty, float32 `[1, hidden]`: what the output head reads at the last position.

    `wanted_positions`, if it is not empty, int64 `[P]`: positions within the pass, counted from its end if negative. Then
    `logits` and `hidden_state` have a row for each of them instead of one for the last.

    A file of the role "prefill" is a second graph that fills the cache, as quick as possible for many positions at once. Its
    tensors are `embeds`, `last_position`, `total_length` and the cache.
    """

    __pydantic_config__ = STRICT

    embeds: str
    last_position: str
    total_length: str
    past_key: str
    past_value: str
    present_key: str
    present_value: str
    logits: str
    layers: Count
    heads: Count
    kv_heads: Count
    head_dim: Count
    hidden: Count
    vocabulary: Count
    context: Count
    hidden_state: str = ""
    wanted_positions: str = ""


@dataclass(frozen=True)
class RegionSpec:
    """The region head, which gives all boxes of an object in one run. Boxes are fractions of the tower's square.

    Inputs, float32: `query` `[1, Q, hidden]`, the decoder's `hidden_state`; `places` `[1, P, W]` and `fine`
    `[1, C, bins, bins]`, which are further outputs of the tower's graph. Outputs, float32: `edges` `[1, Q, 4, bins]` are
    distributions of the left, upper, right and lower edge; `presence` `[1, Q]` is the probability that the object is there;
    `centres` `[1, Q, bins, bins]` are those that a place is the centre of a box; `distances` `[1, Q, 4, bins, bins]` reach
    from there to the edges. Peaks of `centres` from the probability `several` on are boxes of an object that has several;
    of two boxes whose IoU is above `overlap` the better one stays.

    `tokens` `[1, P, hidden]` is an output of the tower's graph for the language model: the mean over the places of a box in
    a question is added to the embedding of the token that closes the box.

    `doubt` is taken off the log-odds of a box in which the weights, asked back, name something else; 0 where this was not
    fitted, and boxes are not asked about.
    """

    __pydantic_config__ = STRICT

    places: str
    fine: str
    tokens: str
    query: str
    edges: str
    presence: str
    centres: str
    distances: str
    bins: Count
    several: Share
    overlap: Share
    doubt: Number = 0.0


@dataclass(frozen=True)
class MaskSpec:
    """The mask head: a graph that makes a mask of the content of each box.

    `pixels` `[N, 3, side, side]` are boxes, each grown by `margin` of its sides, stretched to a square, black beyond the
    image, their values spread over 0..1. `logits` `[N, places, places]` over the same areas are positive inside the mask.
    Both are float32. `calibration` is slope and offset of `confidence.calibrated` for the IoU that the logits promise. Of
    the labels `wrong`, English names, masks are wrong even in the right box, so none are given.
    """

    __pydantic_config__ = STRICT

    pixels: str
    logits: str
    side: Count
    places: Count
    margin: Share
    calibration: tuple[Number, ...] = ()
    wrong: tuple[str, ...] = ()


@dataclass(frozen=True)
class FamiliarKind:
    """One kind of image in the file of familiar images: how many points it has, and how far from them it is familiar."""

    __pydantic_config__ = STRICT

    points: Count
    limit: Number


@dataclass(frozen=True)
class Familiarity:
    """What tells images and questions like those of training from others.

    `images` are the kinds in the file of familiar images, in its order, by modality. A name is familiar in an image if a
    point with that name is no farther than `name_ratio` times the nearest point. A question is familiar if `support` images
    or more had one of at least this `similarity`.
    """

    __pydantic_config__ = STRICT

    images: dict[str, FamiliarKind]
    name_ratio: Number
    similarity: Share
    support: Count


@dataclass(frozen=True)
class TokenSpec:
    """Ids of the tokens that the runtime has to know: the image slot, and those that end an answer."""

    __pydantic_config__ = STRICT

    image: Count
    end: tuple[Count, ...]


@dataclass(frozen=True)
class AnswerThresholds:
    """Calibrated confidence from which on an answer in words is given: of yes or no (`closed`), and of others (`open`)."""

    __pydantic_config__ = STRICT

    open: Share
    closed: Share


@dataclass(frozen=True)
class Manifest:
    """Everything the runtime needs to know of a package before it opens a file of it."""

    __pydantic_config__ = STRICT

    schema_version: Count
    name: str
    version: str
    source: str
    precision: str
    files: dict[str, FileEntry]
    vision: VisionSpec
    decoder: DecoderSpec
    tokens: TokenSpec
    tasks: tuple[str, ...]
    languages: tuple[str, ...]
    modalities: tuple[str, ...]
    calibration: tuple[Number, ...] = ()  # slope and offset of `confidence.calibrated`, of boxes
    calibration_shifts: dict[str, dict[str, Number]] = field(default_factory=dict)  # by modality and label; "" for all
    answer_calibration: tuple[Number, ...] = ()  # as `calibration`, of answers in words
    answer_thresholds: AnswerThresholds | None = None
    regions: RegionSpec | None = None
    masks: MaskSpec | None = None
    familiarity: Familiarity | None = None

    def to_json(self) -> str:
        """Serialise as `manifest.json`. Newer keys are left out where they say nothing: older programs refuse them."""
        data = dataclasses.asdict(self)
        if self.vision.fit == "stretch":
            del data["vision"]["fit"]
        if not self.decoder.hidden_state:
            del data["decoder"]["hidden_state"]
        if not self.decoder.wanted_positions:
            del data["decoder"]["wanted_positions"]
        for key in ("regions", "masks"):
            if data[key] is None:
                del data[key]
        if self.regions and not self.regions.doubt:
            del data["regions"]["doubt"]
        for key in ("calibration_shifts", "answer_calibration", "answer_thresholds", "familiarity"):
            if not data[key]:
                del data[key]
        return json.dumps(data, ensure_ascii=False, indent=1) + "\n"

    @property
    def weights(self) -> str:
        """SHA-256 over the hashes of all files that boxes and masks depend on."""
        hashes = {role: entry.sha256 for role, entry in self.files.items() if role not in _ABOUT_WEIGHTS}
        return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read `manifest.json`; raises PackageError that names the key at fault."""
        try:
            data = load_json(text)
            if not isinstance(data, dict):
                raise PackageError("package.not_json", file=MANIFEST)
            version = data.get("schema_version")
            if type(version) is int and version > REGION_SCHEMA_VERSION:
                raise PackageError("package.newer_schema", version=version, known=REGION_SCHEMA_VERSION)
            if version not in (SCHEMA_VERSION, REGION_SCHEMA_VERSION):
                raise PackageError("package.unknown_schema", file=MANIFEST)
            manifest = parse_json(cls, text)
        except JsonFault as fault:
            raise fault.package_error(MANIFEST) from None
        for role in ROLES:
            if role not in manifest.files:
                raise PackageError("package.missing_role", role=role)
        for role in manifest.files:
            if role not in ROLES + OPTIONAL_ROLES:
                raise PackageError("package.unknown_role", role=role)
        for key in ("calibration", "answer_calibration"):
            if len(getattr(manifest, key)) not in (0, 2):
                raise PackageError("package.wrong_value", file=MANIFEST, key=key)
        manifest._check_regions()
        manifest._check_masks()
        manifest._check_familiarity()
        return manifest

    def _check_regions(self) -> None:
        """Raise PackageError unless the region head, its numbers, the decoder's hidden state and the schema go together."""
        if self.regions is None:
            if REGION_HEAD in self.files:
                raise PackageError("package.missing_key", file=MANIFEST, key="regions")
            return
        if REGION_HEAD not in self.files:
            raise PackageError("package.missing_role", role=REGION_HEAD)
        problems = {
            "schema_version": self.schema_version != REGION_SCHEMA_VERSION,
            "decoder.hidden_state": not self.decoder.hidden_state,
            "regions.bins": self.regions.bins == 0,
        }
        for key in (key for key, is_wrong in problems.items() if is_wrong):
            raise PackageError("package.wrong_value", file=MANIFEST, key=key)

    def _check_masks(self) -> None:
        """Raise PackageError unless the file of the mask head and its numbers go together."""
        if self.masks is None:
            if MASK_HEAD in self.files:
                raise PackageError("package.missing_key", file=MANIFEST, key="masks")
            return
        if MASK_HEAD not in self.files:
            raise PackageError("package.missing_role", role=MASK_HEAD)
        problems = {
            "masks.side": self.masks.side == 0,
            "masks.places": self.masks.places == 0,
            "masks.calibration": len(self.masks.calibration) not in (0, 2),
        }
        for key in (key for key, is_wrong in problems.items() if is_wrong):
            raise PackageError("package.wrong_value", file=MANIFEST, key=key)

    def _check_familiarity(self) -> None:
        """Raise PackageError unless the files of familiarity and their numbers go together."""
        present = [role for role in FAMILIARITY_ROLES if role in self.files]
        if self.familiarity is None:
            if present:
                raise PackageError("package.missing_key", file=MANIFEST, key="familiarity")
            return
        for role in FAMILIARITY_ROLES:
            if role not in present:
                raise PackageError("package.missing_role", role=role)
        kinds = self.familiarity.images
        if not {*kinds} <= {*self.modalities} or not all(kind.points for kind in kinds.values()):
            raise PackageError("package.wrong_value", file=MANIFEST, key="familiarity.images")


def file_entry(path: Path, precision: str) -> FileEntry:
    """Describe a file for a manifest: its name, its hash, and its size on disk."""
    with path.open("rb") as file:
        return FileEntry(path.name, hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size, precision)
