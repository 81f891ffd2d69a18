"""Sources of questions for tests: the same images and questions as JSONL, shards and tables."""

import io
import json
import tarfile

import numpy as np
from PIL import Image


def png(value):
    """A picture of 64 x 64 pixels, another one for each value."""
    pixels = np.random.default_rng(value).integers(0, 255, (64, 64), dtype=np.uint8)
    made = io.BytesIO()
    Image.fromarray(pixels).save(made, "PNG")
    return made.getvalue()


def questions(count):
    """Lines about pictures `0.png`, `1.png` and so on."""
    return [{"id": f"q{n}", "image": f"{n}.png", "question": "locate the liver"} for n in range(count)]


def jsonl(folder, lines):
    """Write lines as a file, and their images beside it."""
    folder.mkdir(exist_ok=True)
    for line in lines:
        (folder / line["image"]).write_bytes(png(int(line["image"].partition(".")[0])))
    path = folder / "questions.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)), "utf-8")
    return path


def tar(path, members, **options):
    """Write a tar file of (name, bytes)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", **options) as file:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    return path


def sample(line):
    """The two members of a shard for one line."""
    name = line["image"].partition(".")[0]
    keys = {key: value for key, value in line.items() if key != "image"}
    return [(line["image"], png(int(name))), (f"{name}.json", json.dumps(keys).encode())]


def shards(folder, lines, each=4):
    """Write lines as shards of `each` samples."""
    for start in range(0, len(lines), each):
        members = [member for line in lines[start : start + each] for member in sample(line)]
        tar(folder / f"shard-{start // each}.tar", members)
    return folder


def table(path, lines, images="path", group=3):
    """Write lines as a Parquet file whose images are a "path", "bytes" or a "struct"."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [dict(line) for line in lines]
    for row in rows:
        data = png(int(row["image"].partition(".")[0]))
        if images == "path":
            (path.parent / row["image"]).write_bytes(data)
        else:
            row["image"] = data if images == "bytes" else {"bytes": data, "path": row["image"]}
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=group)
    return path
