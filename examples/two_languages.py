"""Ask in English and in Chinese about one image, which is encoded once: python examples/two_languages.py SCAN"""

import sys

import medrega_edge


def main(scan: str) -> None:
    """Ask the same question twice about the image file `scan`; print answers, boxes and milliseconds."""
    engine = medrega_edge.load()
    image = engine.open(scan)
    answers = [engine.ask(image, question) for question in ("locate the liver", "请定位肝脏")]
    for answer in answers:
        print(answer.language, answer.text, f"{answer.timings.total:.0f} ms")
        for warning in answer.warnings:
            print("warning:", warning)
    english, chinese = ([[round(value) for value in region.box] for region in answer.regions] for answer in answers)
    print("same boxes" if english == chinese else "different boxes", english)


if __name__ == "__main__":
    main(*sys.argv[1:])
