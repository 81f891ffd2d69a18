"""Whole volumes: slices read one at a time, boxes linked over slices, and the command that asks for them."""

import json
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest

from medrega_edge.boxes import PixelBox
from medrega_edge.domain import Language
from medrega_edge.errors import ImageError, UsageError
from medrega_edge.images.medical_image import View
from medrega_edge.images.reader import read_image
from medrega_edge.masks import Mask
from medrega_edge.measures import measure
from medrega_edge.output.overlay import COLOURS
from medrega_edge.tasks.detection import Detect
from medrega_edge.tasks.reporting import Report
from medrega_edge.tasks.segmentation import Segment
from medrega_edge.volumes.answer import VolumeRegion
from medrega_edge.volumes.linking import SliceBox, best_chain, chains
from medrega_edge.volumes.locate import locate_in_volume, millilitres, slices_of_objects
from medrega_edge.volumes.reader import Volume, open_volume
from tests.codes import raises_code
from tests.edge.stub import StubEngine, medrega, put
from tests.edge.test_series import AXIAL, stack

HERE, THERE = PixelBox(10.0, 10.0, 50.0, 50.0), PixelBox(100.0, 100.0, 140.0, 140.0)


def chain(*boxes):
    return [one.slice for one in best_chain([SliceBox(*box) for box in boxes])]


def test_a_chain_leaves_out_a_sure_box_that_lies_elsewhere():
    boxes = [(0, HERE, 0.95), (1, HERE, 0.9), (2, HERE, 0.97), (3, THERE, 0.97)]
    assert chain(*boxes) == [0, 1, 2]


def test_a_chain_bridges_a_slice_without_a_box_and_ends_where_confidence_does():
    boxes = [(0, HERE, 0.2), (1, HERE, 0.97), (2, HERE, 0.97), (4, HERE, 0.97), (5, HERE, 0.97), (6, HERE, 0.1)]
    assert chain(*boxes) == [1, 2, 4, 5]


def test_a_chain_has_one_box_a_slice():
    assert best_chain([SliceBox(0, HERE, 0.9), SliceBox(0, THERE, 0.95), SliceBox(1, THERE, 0.95)]) == [
        SliceBox(0, THERE, 0.95),
        SliceBox(1, THERE, 0.95),
    ]


def test_objects_of_a_name_that_lie_beside_each_other_are_several():
    boxes = [SliceBox(number, place, 0.95) for number in range(3) for place in (HERE, THERE)]
    boxes += [SliceBox(number, THERE, 0.9) for number in (6, 7, 8)]  # three slices further on
    near = [SliceBox(1, PixelBox(12.0, 12.0, 52.0, 52.0), 0.9)]  # the same object again
    found = chains(boxes + near, are_several=True)
    assert sorted((one[0].box == HERE, [each.slice for each in one]) for one in found) == [
        (False, [0, 1, 2]),
        (False, [6, 7, 8]),
        (True, [0, 1, 2]),
    ]
    assert chains(boxes, are_several=False) == found[:1]
    assert chains([], are_several=True) == []


def test_what_no_slice_is_sure_of_is_an_object_only_if_it_is_likely():
    assert chain(*[(number, HERE, 0.6) for number in range(6)]) == list(range(6))
    assert chain(*[(number, HERE, 0.2) for number in range(6)]) == []
    assert chain() == []


def series(folder, count=5, step=2.5, **tags):
    return stack(folder, [(0, 0, step * number) for number in range(count)], cosines=AXIAL, **tags)


@pytest.mark.parametrize(("guesses", "is_guess"), [(2, False), (3, True)])
def test_an_object_of_best_guesses_is_one_itself(guesses, is_guess):
    boxes = tuple(SliceBox(number, HERE, 0.9, number < guesses) for number in range(4))
    assert VolumeRegion("liver", boxes, None).is_best_guess is is_guess


def test_slices_of_a_series_are_those_that_are_read_one_by_one(tmp_path):
    folder = series(tmp_path / "ct")
    volume = open_volume(folder)
    assert (volume.count, volume.step_mm, volume.thickness_mm(1, 3)) == (5, 2.5, 7.5)
    for number in range(5):
        alone = read_image(folder, View(slice=number))
        assert np.array_equal(volume.read(number).pixels, alone.pixels)
        assert (volume.read(number).slice, volume.read(number).sha256) == (number, alone.sha256)


@pytest.mark.parametrize("pack", [False, True])
def test_slices_of_a_nifti_volume_are_those_that_are_read_one_by_one(tmp_path, pack):
    pytest.importorskip("nibabel")
    from tests.edge.test_nifti import nifti, noise

    path = tmp_path / "scan.nii"
    path.write_bytes(nifti(noise, pack=pack))
    volume = open_volume(path, View(plane="coronal"))
    assert (volume.count, volume.step_mm) == (22, 3.0)
    alone = read_image(path, View(plane="coronal", slice=7))
    assert np.array_equal(volume.read(7).pixels, alone.pixels)
    assert volume.read(7).sha256 == alone.sha256


def test_what_is_no_volume_is_refused(tmp_path):
    with raises_code(ImageError, "volume.single_slice"):
        open_volume(series(tmp_path / "one", count=1))
    with raises_code(ImageError, "volume.shared_positions"):
        open_volume(stack(tmp_path / "phases", [(0, 0, 0), (0, 0, 0), (0, 0, 2)], cosines=AXIAL))
    with raises_code(ImageError, "volume.slice_given"):
        open_volume(tmp_path / "one", View(slice=0))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with raises_code(ImageError, "volume.no_volume"):
        open_volume(tmp_path / "a.png")


class SlicesEngine(StubEngine):
    """Sees the liver in slices 1 to 3, surely, and a spleen in slice 0, hardly."""

    has_masks = False

    class terminology:  # noqa: N801
        english: ClassVar = {}

        @staticmethod
        def find(text):
            return [name for name in (("liver", "肝脏"), ("spleen", "脾脏")) if name[0] in text]

        @staticmethod
        def name(english, language):
            return english

    def encode(self, image):
        from types import SimpleNamespace

        return SimpleNamespace(image=image)

    def run(self, image, task, language=Language.EN, **_):
        from medrega_edge.answer import Region

        answer = super().run(image, task, language)
        number = image.image.slice
        found = {0: ("spleen", THERE, 0.2), 4: None}.get(number, ("liver", HERE, 0.97))
        facts = replace(answer.image, spacing_mm=(0.5, 0.5))
        return replace(answer, regions=(Region(*found),) if found else (), image=facts)


class LesionsEngine(SlicesEngine):
    """Sees two lesions of one name in each slice, and two livers."""

    class terminology:  # noqa: N801
        english: ClassVar = {}

        @staticmethod
        def find(text):
            return [name for name in (("liver", "肝脏"), ("lung tumor", "肺肿瘤")) if name[0] in text]

        @staticmethod
        def name(english, language):
            return english

    def run(self, image, task, language=Language.EN, **_):
        from medrega_edge.answer import Region

        answer = super().run(image, task, language)
        boxes = [Region(name, place, 0.97) for name in ("liver", "lung tumor") for place in (HERE, THERE)]
        return replace(answer, regions=tuple(boxes))


def test_a_volume_has_several_lesions_but_one_liver(tmp_path):
    volume = open_volume(series(tmp_path / "ct"))
    answer = locate_in_volume(LesionsEngine(), volume, Detect(["liver", "lung tumor"]), Language.EN)
    assert [region.label for region in answer.regions] == ["liver", "lung tumor", "lung tumor"]
    assert {region.box for region in answer.regions[1:]} == {HERE, THERE}
    assert answer.text.count("Lung tumor:") == 2


def test_an_answer_about_a_volume_has_box_slices_and_millimetres(tmp_path):
    volume = open_volume(series(tmp_path / "ct"))
    request, done = Detect(["liver", "spleen"]), []
    answer = locate_in_volume(SlicesEngine(), volume, request, Language.EN, done.append)
    data = json.loads(json.dumps(answer.to_dict()))
    assert done == [1, 2, 3, 4, 5]
    (liver,) = data["regions"]
    assert (liver["label"], liver["slices"], liver["key_slice"], liver["box"]) == ("liver", [1, 3], 1, list(HERE))
    assert liver["size_mm"] == [20.0, 20.0, 7.5]
    assert [one["slice"] for one in liver["boxes"]] == [1, 2, 3]
    assert (data["absent"], data["slices"], data["image"]["path"]) == (["spleen"], 5, None)
    shown = slices_of_objects(volume, answer)
    assert [(one.number, [number for number, _ in one.regions]) for one in shown] == [(1, [0]), (2, [0]), (3, [0])]
    with raises_code(UsageError, "volume.only_places"):
        locate_in_volume(SlicesEngine(), volume, Report(False), Language.EN)


def test_a_slice_that_cannot_be_read_is_named(tmp_path):
    folder = series(tmp_path / "ct")
    volume = open_volume(folder)
    for path in folder.iterdir():
        if read_image(path).pixels[1, 0, 0] == volume.read(2).pixels[1, 0, 0]:
            path.write_bytes(b"")
            break
    with pytest.raises(ImageError) as caught:
        locate_in_volume(SlicesEngine(), volume, Detect(["liver"]), Language.EN)
    assert caught.value.code == "volume.unreadable_slice"


def test_the_command_prints_objects_and_writes_a_montage(tmp_path, monkeypatch, capsys):
    put(monkeypatch)
    monkeypatch.setattr("medrega_edge.engine.load", lambda *_, **__: SlicesEngine())
    folder, sheet = series(tmp_path / "ct"), tmp_path / "sheet.png"
    assert medrega("locate", str(folder), "liver", "--volume", "--json", "--save", str(sheet)) == 0
    assert json.loads(capsys.readouterr().out)["regions"][0]["slices"] == [1, 3]
    picture = read_image(sheet).pixels
    assert picture.shape[1] > 1000
    colour = [int(COLOURS[0][place : place + 2], 16) for place in (1, 3, 5)]
    strip = (picture[-8] == colour).all(axis=1).nonzero()[0] / picture.shape[1]  # slices 1 to 3 of 0 to 4
    assert (strip.min(), strip.max()) == (pytest.approx(0.2, abs=0.02), pytest.approx(0.8, abs=0.02))
    with raises_code(UsageError, "volume.one_option"):
        medrega("locate", folder, "liver", "--volume", "--slice", "1")
    with raises_code(UsageError, "volume.one_option"):
        medrega("ask", folder, "locate the liver", "--volume", "--cot")


class Killed(BaseException):
    """The end of a process."""


class MasksEngine(SlicesEngine):
    """Makes a mask of four by five pixels in each box; notes what it was asked, and is killed at a slice or a mask."""

    has_masks = True

    def __init__(self, killed_at=None):
        super().__init__()
        self.notes, self.killed_at = [], killed_at

    def note(self, *what):
        if what == self.killed_at:
            raise Killed
        self.notes.append(what)

    def run(self, image, task, language=Language.EN, **_):
        self.note("boxes", image.image.slice)
        return super().run(image, task, language)

    def with_masks(self, image, regions):
        self.note("masks", image.image.slice)
        inside = np.zeros((16, 16), bool)
        inside[:4, :5] = True
        mask = Mask.of(inside, 0.9)
        measures = measure(inside, mask.box, replace(image.image, spacing_mm=(0.5, 0.5)))
        return tuple(replace(region, mask=mask, measures=measures) for region in regions), []


@pytest.mark.parametrize("killed_at", [("boxes", 3), ("masks", 2)])
def test_a_killed_run_goes_on_where_it_was(tmp_path, monkeypatch, capsys, killed_at):
    put(monkeypatch)
    folder, sheet = series(tmp_path / "ct"), tmp_path / "sheet.png"

    def ask(engine, question="locate the liver", picture=sheet):
        monkeypatch.setattr(engine, "request", lambda *_, **__: Segment(["liver"]), raising=False)
        monkeypatch.setattr("medrega_edge.engine.load", lambda *_, **__: engine)
        medrega("ask", str(folder), question, "--volume", "--json", "--save", str(picture))
        return {key: value for key, value in json.loads(capsys.readouterr().out).items() if key != "seconds"}

    with pytest.raises(Killed):
        ask(MasksEngine(killed_at))
    assert (tmp_path / "sheet.png.part").exists() and not sheet.exists()
    engine, whole = MasksEngine(), MasksEngine()
    answer = ask(engine)
    assert sheet.exists() and not (tmp_path / "sheet.png.part").exists()
    assert answer == ask(whole, picture=tmp_path / "other.png")
    done = 3 if killed_at[0] == "boxes" else 5  # slices, and the middle one is asked again for the facts of the image
    masks = [1, 2, 3] if killed_at[0] == "boxes" else [2, 3]
    assert engine.notes == [("boxes", 2), *(("boxes", n) for n in range(done, 5)), *(("masks", n) for n in masks)]
    assert len(whole.notes) == 6 + 3


def test_the_work_of_another_volume_is_not_taken_up(tmp_path, monkeypatch):
    put(monkeypatch)
    folder, sheet = series(tmp_path / "ct"), tmp_path / "sheet.png"
    ask = ("locate", folder, "liver", "--volume", "--save", sheet)
    monkeypatch.setattr("medrega_edge.engine.load", lambda *_, **__: MasksEngine(("boxes", 4)))
    with pytest.raises(Killed):
        medrega(*ask)
    with raises_code(UsageError, "batch.other_job"):
        medrega("locate", folder, "spleen", "--volume", "--save", sheet)
    path = min(folder.iterdir())
    path.write_bytes(path.read_bytes() + b"\0\0")
    with raises_code(UsageError, "batch.other_job"):
        medrega(*ask)


def test_few_slices_are_in_memory_at_a_time():
    import weakref

    from medrega_edge.images.medical_image import MedicalImage

    alive, most = weakref.WeakSet(), 0

    class Pixels(MedicalImage):
        __hash__ = object.__hash__

    def read(index):
        nonlocal most
        image = Pixels(np.zeros((16, 16, 3), np.uint8), "", slice=index)
        alive.add(image)
        most = max(most, len(alive))
        return image

    locate_in_volume(MasksEngine(), Volume(40, read, 2.0), Segment(["liver"]), Language.EN)
    assert most <= 3


def test_millilitres_are_the_areas_of_masks_over_the_slices():
    volume = Volume(6, lambda _: None, 2.0, (0.0, 2.0, 4.0, 6.0, 8.0, 10.0))

    def mask(pixels):
        inside = np.zeros((16, 16), bool)
        inside.flat[:pixels] = True
        return Mask.of(inside, 1.0)

    boxes = [SliceBox(number, HERE, 1.0) for number in (0, 1, 3)]
    masks = [mask(100), None, mask(200)]
    # Worked out by hand: ends 1 mm each, 100 to 0 over 2 mm, 0 to 200 over 4 mm; pixels of 0.5 x 2 mm.
    cubic = (100 * 1 + 200 * 1 + 50 * 2 + 100 * 4) * 0.5 * 2
    assert millilitres(boxes, masks, volume, (0.5, 2.0)) == pytest.approx(cubic / 1000)
    assert millilitres(boxes, masks, volume, None) is None
    assert millilitres(boxes, masks, replace(volume, step_mm=None), (0.5, 2.0)) is None


def test_a_mask_is_made_in_each_box_of_an_object(tmp_path):
    answer = locate_in_volume(MasksEngine(), open_volume(series(tmp_path / "ct")), Segment(["liver"]), Language.EN)
    (liver,) = answer.to_dict()["regions"]
    assert liver["volume_ml"] == pytest.approx(20 * 0.25 * 7.5 / 1000, abs=0.05)
    assert [one["mask"]["area"] for one in liver["boxes"]] == [20, 20, 20]
    assert {one["mask"]["length_unit"] for one in liver["boxes"]} == {"mm"}
    number, measures = answer.regions[0].longest
    assert number == 1 and measures.longest.length == pytest.approx(3, abs=0.1)
    in_slice = liver["boxes"][0]["mask"]
    assert liver["longest"] == {"slice": 1} | {key: in_slice[key] for key in liver["longest"] if key != "slice"}
    told = f"{measures.longest.length:.1f} mm, {measures.perpendicular.length:.1f} mm across it, in slice 1."
    assert f"diameter {told}" in answer.text
    with raises_code(UsageError, "task.no_masks"):
        locate_in_volume(SlicesEngine(), open_volume(tmp_path / "ct"), Segment(["liver"]), Language.EN)
