"""Draw the boxes of a JSON answer, without medrega: python examples/draw_json.py SCAN.png answer.json marked.png

The answer comes from `medrega ask SCAN.png "locate the liver" --json > answer.json`.
"""

import json
import sys
from pathlib import Path

from PIL import Image, ImageDraw


def main(scan: str, answer: str, picture: str) -> None:
    """Read a picture and the JSON of an answer about it; write the marked picture."""
    found = json.loads(Path(answer).read_text(encoding="utf-8"))
    with Image.open(scan) as original:
        marked = original.convert("RGB")
    if marked.size != (found["image"]["width"], found["image"]["height"]):
        sys.exit("The answer is about an image of another size.")
    draw = ImageDraw.Draw(marked)
    for region in found["regions"]:
        draw.rectangle(region["box"], outline="orange", width=2)
        draw.text(region["box"][:2], region["label"], fill="orange", anchor="lb")
    draw.text((2, 2), found["notice"], fill="orange")
    marked.save(picture)


if __name__ == "__main__":
    main(*sys.argv[1:])
