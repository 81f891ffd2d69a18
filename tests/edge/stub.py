"""An engine without a model, for tests of what stands around one: it reads images, and says how bright they are.

`python -m tests.edge.stub COMMAND...` is `medrega COMMAND...` with it; STUB_SECONDS is what an answer takes.
"""

import os
import sys
import time
from types import SimpleNamespace

from medrega_edge import engine
from medrega_edge.answer import Answer, ImageFacts, ModelFacts, Region, Timings
from medrega_edge.boxes import PixelBox
from medrega_edge.cli import main as cli
from medrega_edge.cli.usage import usage_error
from medrega_edge.domain import Language, Task
from medrega_edge.images.medical_image import View
from medrega_edge.images.reader import read_image
from medrega_edge.tasks.detection import Detect
from medrega_edge.tasks.intent import build_request
from medrega_edge.vocabulary.terminology import Terminology


class StubEngine:
    asked = 0
    terminology = Terminology(())

    def open(self, path, view=View()):
        return self.encode(read_image(path, view))

    def encode(self, image, read_ms=0.0):
        return SimpleNamespace(image=image)

    def modality(self, image):
        return None

    def request(self, image, text, *, task=None, box=None, labels=(), multiple=False, **_):
        return build_request(task or Task.DETECT, text, box=box, labels=labels, multiple=multiple)

    def ask(self, image, text, language=None, **_):
        return self.run(image, Detect(text), language or Language.EN)

    def run(self, image, task, language=Language.EN, **_):
        seconds = float(os.environ.get("STUB_SECONDS", 0))
        if seconds > 1:
            sys.stderr.write("asked\n")  # to a test that waits for it
            sys.stderr.flush()
        time.sleep(seconds)
        self.asked += 1
        picture = image.image
        facts = ImageFacts(
            picture.path, picture.width, picture.height, None, picture.frame, picture.window, picture.sha256,
            window_function=picture.window_function,
        )  # fmt: skip
        regions = (Region("=cmd()", PixelBox(1.0, 2.0, 3.0, 4.0), 0.5), Region("肝脏", PixelBox(5.0, 6.0, 7.0, 8.0), None))
        return Answer(
            text=f"{task.words}: {picture.pixels.mean():.3f}", raw_text="", task=task.task, language=Language(language),
            regions=regions, labels=(), image=facts, model=ModelFacts("stub", "0", "0" * 64, "none"), device="cpu",
            finish="stop", prompt_tokens=1, generated_tokens=1, timings=Timings(total=time.perf_counter()),
        )  # fmt: skip


def put(monkeypatch):
    """Let commands in this process use one, and return it."""
    stub = StubEngine()
    monkeypatch.setattr(engine, "load", lambda *_, **__: stub)
    return stub


def medrega(*arguments):
    """Run a command in this process; returns its exit code."""
    try:
        return cli.app([str(argument) for argument in arguments], prog_name="medrega", standalone_mode=False) or 0
    except Exception as error:
        raise usage_error(error) or error from None


if __name__ == "__main__":
    engine.load = lambda *_, **__: StubEngine()
    sys.argv[0] = "medrega"
    cli.main()
