"""Choose among the labels of a set: python examples/classify.py SKIN.png skin"""

import sys

import medrega_edge


def main(scan: str, label_set: str) -> None:
    """Classify the image file `scan`; `medrega model info --labels` lists the names of label sets."""
    engine = medrega_edge.load()
    answer = engine.classify(engine.open(scan), label_set)
    for label in answer.labels:
        print(f"{label.label}: {label.confidence:.2f}")
    certified = answer.model.certified
    if certified:
        print(f"{certified.right:.0%} of {certified.answers} such answers were correct when the package was certified")
    for warning in answer.warnings:
        print("warning:", warning)


if __name__ == "__main__":
    main(*sys.argv[1:])
