"""Locate an object and save the image with its boxes: python examples/locate.py SCAN liver marked.png"""

import sys

from PIL import Image, ImageDraw

import medrega_edge


def main(scan: str, name: str, picture: str) -> None:
    """Locate `name` in the image file `scan`; write a PNG to `picture`."""
    engine = medrega_edge.load()
    image = engine.open(scan)
    answer = engine.detect(image, [name])
    print(answer.text)
    marked = Image.fromarray(image.image.pixels)  # what the model saw: RGB, upright, windowed
    draw = ImageDraw.Draw(marked)
    for region in answer.regions:
        print(region.label, [round(value) for value in region.box], region.confidence)
        draw.rectangle(region.box, outline="orange", width=2)
    marked.save(picture)


if __name__ == "__main__":
    main(*sys.argv[1:])
