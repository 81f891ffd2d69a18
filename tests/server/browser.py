"""A browser that uses the viewer as a person does. It waits for what the page shows, never for a time."""

import io
import shutil
from contextlib import contextmanager

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from tests.server.running import SCAN

CHROMIUM = shutil.which("chromium")
PATIENCE = 20_000  # milliseconds
SHOWN = "[data-testid=pane]:not([data-loading])"
# A drop comes from outside of the page; a page of a test makes its event itself.
_DROP = """(target, {name, bytes}) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([new Uint8Array(bytes)], name));
  target.dispatchEvent(new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true}));
}"""


def need_browser():
    """Skip the test where there is no browser."""
    pytest.importorskip("playwright", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")


@contextmanager
def browsing():
    """A browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


class Viewer:
    """The page at a URL, in a window with a fresh profile.

    `faults` are the errors of its console and scripts; requests that fail on purpose are not. `held` are the requests that
    `hold` keeps from the server.
    """

    def __init__(self, browser, url, **options):
        self.held = []
        self.context = browser.new_context(**{"locale": "en-GB", "viewport": {"width": 1280, "height": 800}} | options)
        self.context.set_default_timeout(PATIENCE)
        self.page = self.context.new_page()
        self.faults = []
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.goto(url)

    def close(self):
        """Close the window; no script had an error, and nothing asked for what the policy of the page forbids."""
        self.context.close()
        assert self.faults == [], self.faults

    def ready(self):
        """Wait until the page has begun."""
        self.page.wait_for_selector("html[data-ready]")
        return self

    def _note(self, line):
        if line.type in ("error", "warning") and "status of 4" not in line.text:
            self.faults.append(line.text)

    @property
    def state(self):
        """What the page tells tests about itself."""
        return self.page.evaluate("medrega.state")

    def shown(self):
        """Wait until a picture is on the screen."""
        self.page.wait_for_selector(f"{SHOWN}[data-shown]:not([data-shown=''])")

    def drop(self, data, name="scan.dcm"):
        """Drop a file on the picture."""
        self.page.locator("[data-testid=stage]").first.evaluate(_DROP, {"name": name, "bytes": list(data)})

    def choose(self, files):
        """Choose files, by name and bytes, with the file button, and wait until all are there."""
        listed = [{"name": name, "mimeType": "application/octet-stream", "buffer": data} for name, data in files.items()]
        self.page.set_input_files("#files", listed)
        self.shown()
        self.page.wait_for_selector("#upload", state="hidden")

    def ask(self, question):
        """Type a question; return its answer as the page has it."""
        return self.answering(lambda: (self.page.fill("#question", question), self.page.press("#question", "Enter")))

    def ask_in_vain(self, question):
        """Type a question that gets no answer; return the sentence that says why."""
        self.page.fill("#question", question)
        self.page.press("#question", "Enter")
        self.page.wait_for_selector("#ask-status.error")
        return self.page.locator("#ask-status").inner_text()

    def answering(self, act):
        """Do something that asks; return the new answer as the page has it."""
        count = self.page.locator("[data-testid=answer]").count()
        act()
        self.page.locator("[data-testid=answer]").nth(count).wait_for()
        return self.state["answers"][0]

    @contextmanager
    def hold(self, path):
        """Keep requests from the server until the end of the block."""
        self.page.route(path, lambda route: self.held.append(route))  # a list.append cannot be wrapped
        try:
            yield
        finally:
            while self.held:
                self.held.pop(0).continue_()
            self.page.unroute(path)

    def regions(self):
        """Label and box of each region that is drawn, in pixels of the image."""
        drawn = self.page.locator("[data-testid=region]").evaluate_all("all => all.map(one => ({...one.dataset}))")
        return [(one["label"], [float(value) for value in one["box"].split(",")]) for one in drawn]

    def places(self):
        """Left, top, right and bottom of each drawn box on the screen."""
        boxes = [box.bounding_box() for box in self.page.locator("[data-testid=box]").all()]
        return [[box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"]] for box in boxes]

    def on_screen(self, box, size):
        """Where a box in pixels of an image of this size lies on the screen, by the place of its picture."""
        picture = self.page.locator("[data-testid=picture]").first.bounding_box()
        across, down = picture["width"] / size[0], picture["height"] / size[1]
        x1, y1, x2, y2 = box
        left, top = picture["x"], picture["y"]
        return [left + x1 * across, top + y1 * down, left + x2 * across, top + y2 * down]

    def drag(self, start, end, button="left"):
        """Drag from a point of the screen to another."""
        mouse = self.page.mouse
        mouse.move(*start)
        mouse.down(button=button)
        mouse.move(*((a + b) / 2 for a, b in zip(start, end, strict=True)))
        mouse.move(*end)
        mouse.up(button=button)

    def shows(self, number):
        """Wait until the picture of a place of the stack, from 1, is on the screen."""
        self.page.wait_for_selector(f"{SHOWN} .corner.nw:has-text('Slice {number} of')")

    def save(self, name):
        """Save the selected answer; return the file's name and its bytes."""
        with self.page.expect_download() as waiting:
            self.page.click(f".answer.selected [data-save={name}]")
        return waiting.value.suggested_filename, waiting.value.path().read_bytes()


def volume():
    """The bytes of a NIfTI volume of 40 by 60 by 50 millimetres whose values look like those of CT."""
    nibabel = pytest.importorskip("nibabel", reason="nibabel is not installed")
    x, y, z = np.mgrid[:40, :60, :50]
    body = (x - 20) ** 2 / 300 + (y - 30) ** 2 / 700 + (z - 25) ** 2 / 500 < 1
    return nibabel.Nifti1Image(np.where(body, 40 + x, -1000).astype(np.int16), np.eye(4)).to_bytes()


def slices(count):
    """Slices of one series, in files: the sample scan, each a little further along the patient and to the side."""
    made = {}
    for number in range(count):
        scan = pydicom.dcmread(SCAN)
        scan.InstanceNumber = number + 1
        scan.SOPInstanceUID = scan.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["slice", str(number)])
        x, y, z = scan.ImagePositionPatient
        scan.ImagePositionPatient = [x, y, z + 4 * number]
        scan.PixelData = np.roll(scan.pixel_array, 8 * number, axis=1).tobytes()
        file = io.BytesIO()
        scan.save_as(file)
        made[f"slice{number + 1}.dcm"] = file.getvalue()
    return made
