"""The viewer in a browser, on the server that `medrega serve` starts: what a person sees is what the engine answered."""

import hashlib
import io
import json
import os
import re
from importlib.resources import files

import pytest
from PIL import Image

from medrega_edge import PixelBox
from medrega_edge.images.samples import sample_path
from medrega_edge.vocabulary.label_sets import MODALITY_NAMES
from tests.server.browser import SHOWN, Viewer, browsing, need_browser, slices, volume
from tests.server.running import SCAN, running

pytestmark = pytest.mark.slow
VIEWER = files("medrega_edge.server") / "viewer"
SIZE = (484, 300)  # of the scan, in pixels
LIVER = [54, 85, 167, 194]


@pytest.fixture(scope="module")
def server():
    need_browser()
    with running("--processes", "1", "--quiet") as started:
        yield started


@pytest.fixture(scope="module")
def browser(server):
    with browsing() as opened:
        yield opened


@pytest.fixture
def viewer(browser, server):
    opened = Viewer(browser, server.url).ready()
    yield opened
    opened.close()


@pytest.fixture
def scan_shown(viewer):
    viewer.choose({"scan.dcm": SCAN.read_bytes()})
    return viewer


def address(started):
    """The page of `medrega view`, with its token."""
    return re.search(r"https?://\S+#token=[\w-]+", "".join(started.lines))[0]


def rounded(box):
    return [round(value, 2) for value in box]


def near(first, second):
    return first == pytest.approx(second, abs=1.5)  # pixels of the screen: half a line


def test_boxes_of_a_dropped_scan_are_those_of_the_engine_in_both_languages(viewer, engine, scan):
    viewer.drop(SCAN.read_bytes())
    viewer.shown()
    region = engine.detect(scan, ["liver"]).regions[0]
    for question, label in (("locate the liver", "liver"), ("请定位肝脏", "肝脏")):
        answer = viewer.ask(question)["answer"]
        assert viewer.regions() == [(label, rounded(region.box))]
        assert answer["regions"][0]["confidence"] == round(region.confidence, 4)
        assert label in viewer.page.locator(".answer.selected [data-testid=answer-text]").inner_text()
        assert f"{label} {region.confidence:.2f}" in viewer.page.locator(".overlay .name").text_content()


def test_words_that_no_answer_regards_stand_in_the_card(viewer):
    viewer.drop(SCAN.read_bytes())
    viewer.shown()
    viewer.ask("where is the liver for hepatectomy, and how wide is the spleen for splenectomy?")
    note = viewer.page.locator(".answer.selected [data-testid=not-regarded]")
    assert note.inner_text() == "Of the question not regarded: hepatectomy, splenectomy."
    viewer.ask("locate the liver")
    assert not viewer.page.locator(".answer.selected [data-testid=not-regarded]").count()


def test_boxes_lie_on_their_place_at_each_zoom_and_after_panning(scan_shown):
    viewer = scan_shown
    viewer.ask("locate the liver")
    ((_, box),) = viewer.regions()
    assert near(viewer.places()[0], viewer.on_screen(box, SIZE))
    before = viewer.state["panes"][0]["scale"]
    x1, y1, x2, y2 = viewer.places()[0]
    viewer.page.mouse.move((x1 + x2) / 2, (y1 + y2) / 2)
    viewer.page.keyboard.down("Control")
    viewer.page.mouse.wheel(0, -700)
    viewer.page.keyboard.up("Control")
    viewer.page.wait_for_selector("[data-testid=picture][style*=pixelated]")
    assert viewer.state["panes"][0]["scale"] > 2 * before
    assert near(viewer.places()[0], viewer.on_screen(box, SIZE))
    place = viewer.places()[0]
    viewer.drag((600, 400), (640, 370))
    assert near(viewer.places()[0], [place[0] + 40, place[1] - 30, place[2] + 40, place[3] - 30])
    assert near(viewer.places()[0], viewer.on_screen(box, SIZE))


def test_a_dragged_box_gets_the_name_that_the_engine_gives_it(scan_shown, engine, scan):
    viewer = scan_shown
    viewer.page.click("#tool-box")
    x1, y1, x2, y2 = viewer.on_screen(LIVER, SIZE)
    viewer.drag((x1, y1), (x2, y2))
    asked = viewer.answering(lambda: viewer.page.click("[data-box-task=identify]"))
    assert asked["request"]["box"] == pytest.approx(LIVER, abs=1)
    expected = engine.identify(scan, PixelBox(*asked["request"]["box"]))
    assert viewer.page.locator(".answer.selected [data-testid=answer-text]").inner_text() == expected.text
    viewer.drag((x1, y1), (x2, y2))
    outlined = viewer.answering(lambda: viewer.page.click("[data-box-task=segment]"))
    assert outlined["answer"]["regions"][0]["mask"]["area"] > 0
    assert viewer.page.locator(".region path.mask").count() == 1


def test_the_contour_encloses_the_area_of_the_mask(scan_shown, engine, scan):
    viewer = scan_shown
    viewer.ask("outline the liver")
    mask = engine.segment(scan, ["liver"]).regions[0].mask
    path = viewer.page.locator(".region path.mask").get_attribute("d")
    loops = [[tuple(map(float, point.split())) for point in loop.split("L")] for loop in re.findall(r"M([^Z]+)Z", path)]
    area = sum(x1 * y2 - x2 * y1 for loop in loops for (x1, y1), (x2, y2) in zip(loop, loop[1:] + loop[:1], strict=True)) / 2
    assert area == pytest.approx(mask.area, rel=0.01)  # it cuts the corners of pixels
    assert " mm" in viewer.page.locator(".overlay .name").text_content()


def test_slices_are_in_the_order_of_the_patient_and_remember_their_answers(viewer):
    made = slices(5)
    viewer.choose({name: made[name] for name in sorted(made, key=lambda name: name[::-1], reverse=True)})
    (stack,) = viewer.state["stacks"]
    assert [image["number"] for image in stack["images"]] == [1, 2, 3, 4, 5]
    stage = viewer.page.locator("[data-testid=stage]")
    stage.focus()
    viewer.page.keyboard.press("Home")
    viewer.shows(1)
    viewer.ask("locate the liver")
    first = viewer.regions()
    stage.hover()
    viewer.page.mouse.wheel(0, 100)
    viewer.shows(2)
    assert viewer.regions() == []
    viewer.page.locator("[data-testid=slider]").fill("4")
    viewer.shows(5)
    viewer.ask("locate the liver")
    assert viewer.regions()[0][1][0] > first[0][1][0] + 20  # the slices move to the side
    viewer.page.locator("[data-testid=answer] .question").last.click()
    viewer.shows(1)
    assert viewer.regions() == first


def test_saves_an_answer_without_a_name_of_the_file_or_the_patient(scan_shown):
    viewer = scan_shown
    answer = viewer.ask("outline the liver")["answer"]
    name, data = viewer.save("json")
    assert (name, json.loads(data)) == ("medrega-answer.json", answer)
    name, data = viewer.save("png")
    assert name == "medrega-answer.png"
    assert Image.open(io.BytesIO(data)).width >= SIZE[0]


def test_saves_dicom_objects(scan_shown):
    pytest.importorskip("highdicom", reason="highdicom is not installed")
    scan_shown.ask("outline the liver")
    for kind in ("sr", "seg", "gsps"):
        name, data = scan_shown.save(kind)
        assert (name, data[128:132]) == (f"medrega-answer-{kind}.dcm", b"DICM")


def test_switches_all_texts_to_chinese_and_back(scan_shown):
    page = scan_shown.page
    notice = page.locator("#notice")
    assert notice.inner_text() == "Research use only - not a medical device"
    page.click("#language-zh")
    assert notice.inner_text() == "仅供研究使用 - 非医疗器械"
    assert page.locator("#ask-send").inner_text() == "提问"
    assert page.locator("html").get_attribute("lang") == "zh-CN"
    answer = scan_shown.answering(lambda: page.click("[data-task=report]"))
    assert answer["answer"]["language"] == "zh"
    page.click("#language-en")
    assert page.locator("#ask-send").inner_text() == "Ask"


def test_sentences_and_switches_choose_what_is_drawn(scan_shown):
    viewer = scan_shown
    viewer.answering(lambda: viewer.page.click("[data-task=grounded_report]"))
    count = len(viewer.regions())
    assert count > 2
    viewer.page.locator("button.sentence").first.click()
    assert viewer.page.locator(".region.highlighted").count() > 0
    viewer.page.locator("[data-testid=region-switch]").first.click()
    assert len(viewer.regions()) == count - 1
    viewer.page.locator("[data-testid=stage]").focus()
    viewer.page.keyboard.press("o")
    assert viewer.regions() == []
    viewer.page.keyboard.press("o")
    assert len(viewer.regions()) == count - 1


def test_a_later_question_goes_on_from_the_one_before(scan_shown):
    scan_shown.ask("locate the liver")
    later = scan_shown.ask("how big is it?")
    assert later["request"]["history"] == ["locate the liver"]
    assert later["answer"]["facts"]["sizes"][0]["name"] == "liver"


def test_the_ruler_measures_millimetres(scan_shown):
    viewer = scan_shown
    viewer.page.click("#tool-ruler")
    x1, y1, x2, _ = viewer.on_screen([100, 150, 200, 150], SIZE)
    viewer.drag((x1, y1), (x2, y1))
    ruler = viewer.page.locator("[data-testid=ruler]")
    assert ruler.get_attribute("data-unit") == "mm"
    assert float(ruler.get_attribute("data-length")) == pytest.approx(100 * 0.72314, abs=1)
    viewer.page.click("[data-testid=ruler-remove]")
    assert ruler.count() == 0
    picture = io.BytesIO()
    Image.open(VIEWER / "../../../docs/images/sample.png").convert("L").save(picture, "PNG")
    viewer.choose({"picture.png": picture.getvalue()})
    viewer.page.wait_for_selector(f"{SHOWN} .corner.sw:has-text('640')")
    viewer.drag((x1, y1), (x2, y1))
    assert viewer.page.locator("[data-testid=ruler]").get_attribute("data-unit") == "px"


def test_windows_and_resets(scan_shown):
    viewer = scan_shown
    viewer.drag((600, 400), (700, 450), button="right")
    viewer.page.wait_for_selector(f"{SHOWN}[data-window]:not([data-window='450,790'])")
    centre, width = viewer.state["panes"][0]["facts"]["window"]
    assert centre > 450
    assert width > 790
    viewer.page.click("#reset")
    viewer.page.wait_for_selector(f"{SHOWN}[data-window='450,790']")


def test_two_pictures_scroll_together_unless_unlinked(viewer):
    viewer.choose(slices(3))
    stages = viewer.page.locator("[data-testid=stage]")
    stages.focus()
    viewer.page.keyboard.press("Home")
    viewer.page.keyboard.press("c")
    stages.nth(1).focus()
    viewer.page.keyboard.press("ArrowDown")
    assert [pane["number"] for pane in viewer.state["panes"]] == [1, 1]
    viewer.page.keyboard.press("l")
    viewer.page.keyboard.press("ArrowDown")
    assert [pane["number"] for pane in viewer.state["panes"]] == [1, 2]


def test_an_error_stands_beside_its_file_and_a_name_is_never_code(viewer):
    name = "<img src=x onerror=alert(1)>.txt"
    viewer.choose({name: b"no image", "scan.dcm": SCAN.read_bytes()})
    assert name in viewer.page.locator("[data-testid=upload-error]").inner_text()
    assert len(viewer.state["stacks"]) == 1
    assert viewer.page.locator("img").count() == 0


def test_a_removed_image_leaves_the_page_and_the_server(viewer, server):
    viewer.choose({"frames.dcm": sample_path("heart-ultrasound").read_bytes()})
    image = viewer.state["stacks"][0]["images"][0]["id"]
    assert viewer.page.locator(".corner.nw").inner_text().endswith("Frame 16 of 30")
    assert server.request(f"/v1/images/{image}")[0] == 200
    with viewer.page.expect_response(lambda response: response.request.method == "DELETE"):
        viewer.page.click("#stacks .remove")
    viewer.page.wait_for_selector(".pane.is-empty .empty")
    assert server.request(f"/v1/images/{image}")[0] == 404
    viewer.ask_in_vain("locate the liver")


def test_an_image_removed_while_its_picture_comes_leaves_nothing(viewer):
    viewer.choose(slices(6))
    viewer.page.locator("[data-testid=stage]").press("Home")
    viewer.shows(1)
    with viewer.hold("**/picture.png*"):
        with viewer.page.expect_request("**/picture.png*"):
            viewer.page.locator("[data-testid=stage]").press("End")
        viewer.page.click("#stacks .remove")
    viewer.page.wait_for_selector(f"{SHOWN}.is-empty[data-shown='']")
    assert viewer.page.locator(".corner.nw").text_content() == ""
    assert viewer.state["panes"][0]["facts"] is None


def test_an_answer_that_comes_keeps_the_window_of_the_person(scan_shown):
    with scan_shown.hold("**/v1/regions"):
        scan_shown.page.fill("#question", "locate the liver")
        with scan_shown.page.expect_request("**/v1/regions"):
            scan_shown.page.press("#question", "Enter")
        scan_shown.page.locator("[data-testid=stage]").press("]")
        scan_shown.page.wait_for_selector(f"{SHOWN}[data-window]:not([data-window='450,790'])")
    scan_shown.page.wait_for_selector("[data-testid=region]")
    assert scan_shown.state["panes"][0]["window"] is not None


def test_completes_a_name_with_keys_alone(scan_shown):
    page = scan_shown.page
    page.locator("[data-testid=stage]").focus()
    page.keyboard.press("/")
    page.keyboard.type("locate the sple")
    page.wait_for_selector("#names [role=option]")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert page.locator("#question").input_value() == "locate the spleen"
    scan_shown.answering(lambda: page.keyboard.press("Enter"))
    page.keyboard.press("ArrowUp")
    assert page.locator("#question").input_value() == "locate the spleen"


def test_two_fingers_zoom_on_a_tablet(browser, server):
    viewer = Viewer(browser, server.url, viewport={"width": 820, "height": 1180}, has_touch=True).ready()
    viewer.choose({"scan.dcm": SCAN.read_bytes()})
    before = viewer.state["panes"][0]["scale"]
    fingers = viewer.context.new_cdp_session(viewer.page)
    for kind, reach in (("touchStart", 50), ("touchMove", 75), ("touchMove", 100), ("touchEnd", None)):
        points = [] if reach is None else [{"x": 400 + side * reach, "y": 450, "id": side + 1} for side in (-1, 1)]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    assert viewer.state["panes"][0]["scale"] == pytest.approx(2 * before, rel=0.05)
    viewer.close()


def test_each_control_has_a_name_and_is_large_enough(scan_shown):
    scan_shown.ask("outline the liver")
    controls = scan_shown.page.locator("button:visible, input:visible, select:visible")
    listed = controls.evaluate_all(
        """all => all.map(one => [
          one.getAttribute("aria-label") || one.innerText || one.labels?.[0]?.innerText || "",
          one.getBoundingClientRect().height, one.getBoundingClientRect().width, one.className])"""
    )
    assert [row for row in listed if not row[0]] == []
    assert [row for row in listed if min(row[1:3]) < 24 and "sentence" not in row[3]] == []  # a sentence is part of a text


def test_view_opens_images_and_saved_answers_with_the_token_of_the_address(browser, engine, scan, tmp_path):
    saved = [engine.detect(scan, ["liver"]), engine.segment(scan, ["left kidney"])]
    rows = [answer.to_dict() for answer in saved]
    crowd = rows[0] | {"regions": rows[0]["regions"] * 9}
    (tmp_path / "answers.jsonl").write_text("\n".join(json.dumps(row) for row in [*rows, crowd]))
    with running("--no-browser", SCAN, tmp_path / "answers.jsonl", command="view") as started:
        viewer = Viewer(browser, address(started)).ready()
        viewer.shown()
        assert "#" not in viewer.page.url
        assert viewer.regions() == [("liver", rounded(saved[0].regions[0].box))]
        questions = viewer.page.locator("[data-testid=answer] .question")
        questions.nth(1).click()
        assert viewer.regions() == [("left kidney", rounded(saved[1].regions[0].box))]
        assert viewer.save("png")[0] == "medrega-answer.png"
        questions.nth(2).click()
        assert len(viewer.regions()) == 9
        (name,) = viewer.page.locator(".overlay .name").all_text_contents()  # of many of one label only the first has it
        assert name.endswith("×9")
        viewer.close()


def test_asks_for_a_token_that_the_address_lacks(browser):
    token = "a-token-of-a-test"
    with running("--processes", "1", environment={"MEDREGA_TOKEN": token}.items()) as started:
        viewer = Viewer(browser, started.url)
        viewer.page.fill("#token", token)
        viewer.page.keyboard.press("Enter")
        viewer.ready().close()


def test_a_code_is_good_for_one_tab_and_a_reload_keeps_its_token(browser, tmp_path):
    os.mkfifo(tmp_path / "address")
    opener = tmp_path / "opener"  # stands for the browser that `medrega view` opens
    opener.write_text(f'#!/bin/sh\nprintf %s "$1" > {tmp_path}/address\n')
    opener.chmod(0o755)
    with running(SCAN, command="view", environment={"BROWSER": str(opener)}.items()) as started:
        page = (tmp_path / "address").read_text()
        assert page.startswith(f"{started.url}/#code=")
        viewer = Viewer(browser, page).ready()
        assert "#" not in viewer.page.url
        viewer.page.reload()
        viewer.ready().shown()
        viewer.close()
        late = Viewer(browser, page)
        late.page.wait_for_selector("#token-dialog[open]")
        late.close()


def test_forgets_a_token_that_the_server_does_not_take(browser):
    token = "a-token-of-a-test"
    with running("--processes", "1", environment={"MEDREGA_TOKEN": token}.items()) as started:
        viewer = Viewer(browser, f"{started.url}/#token={token}").ready()
        kept = "sessionStorage.getItem('medrega-token')"
        assert viewer.page.evaluate(kept) == token
        viewer.page.evaluate("sessionStorage.setItem('medrega-token', 'another-token-of-a-test')")
        viewer.page.reload()
        viewer.page.wait_for_selector("#token-dialog[open]")
        assert viewer.page.evaluate(kept) is None
        viewer.close()


def test_saved_answers_lie_in_the_plane_and_slice_that_they_are_about(browser, engine, scan, tmp_path):
    data = volume()
    (tmp_path / "volume.nii").write_bytes(data)
    made = engine.detect(scan, ["liver"]).to_dict()
    made["warning_details"] = [{"code": "image.slice_of_volume", "message": "slice 7 of 60", "params": {}}]
    made["warnings"] = ["slice 7 of 60"]

    def row(**image):
        sha = hashlib.sha256(data).hexdigest()
        return made | {"image": made["image"] | {"sha256": sha, "slice": 7, "frame": None} | image}

    unknown, coronal = row(sides=None), row(sides=["R", "H", "L", "F"], window=[50.0, 350.0])
    taken = row(sides=["R", "A", "L", "P"], modality="ct", modality_confidence=0.49)
    other = made | {"image": made["image"] | {"sha256": "0" * 64}}
    (tmp_path / "answers.jsonl").write_text("\n".join(json.dumps(one) for one in (coronal, unknown, taken, other)))
    with running("--no-browser", tmp_path / "volume.nii", tmp_path / "answers.jsonl", command="view") as started:
        viewer = Viewer(browser, address(started)).ready()
        answers, where = viewer.page.locator("[data-testid=answer]"), viewer.page.locator("[data-testid=answer-where]")
        assert where.all_text_contents() == [
            "Image 1 · Coronal · Slice 8 of 60 · L 50 W 350",
            "picture not known",
            "Image 1 · Axial · Slice 8 of 50" + where.nth(2).text_content()[31:],
            "image not open",
        ]
        assert "Answers without their image: 1" in viewer.page.locator("[data-testid=upload-error]").inner_text()
        answers.nth(0).locator(".question").click()
        viewer.page.wait_for_selector(f"{SHOWN} .corner.nw:has-text('Slice 8 of 60')")
        assert len(viewer.regions()) == 1
        assert answers.nth(0).locator(".warnings li").count() == 0
        viewer.page.locator("[data-testid=stage]").press("Home")
        viewer.shows(1)
        answers.nth(1).locator(".question").click()
        assert viewer.regions() == []
        assert answers.nth(1).locator("[data-save]").all_inner_texts() == ["JSON"]
        assert answers.nth(2).locator("[data-testid=taken-for]").text_content() == "taken for: CT scan (0.49)"
        viewer.close()


def test_nothing_is_asked_or_drawn_about_a_picture_that_is_not_there_yet(viewer):
    viewer.choose(slices(6))
    page = viewer.page
    page.locator("[data-testid=stage]").focus()
    page.keyboard.press("Home")
    viewer.shows(1)
    viewer.page.click("#tool-box")
    with viewer.hold("**/picture.png*"):
        page.locator("[data-testid=stage]").focus()
        with page.expect_request("**/picture.png*"):
            page.keyboard.press("End")
        viewer.drag((600, 300), (700, 400))
        assert page.locator("[data-testid=asked-box]").count() == 0
        page.fill("#question", "locate the liver")
        page.press("#question", "Enter")
        page.wait_for_selector("#ask-status:has-text('Asking')")
    page.wait_for_selector("[data-testid=answer]")
    viewer.shows(6)
    (answer,) = viewer.state["answers"]
    assert answer["request"]["image"]["id"] == viewer.state["stacks"][0]["images"][5]["id"]
    viewer.drag((600, 300), (700, 400))
    assert page.locator("[data-testid=asked-box]").count() == 1


def test_a_card_says_where_its_picture_is_and_is_chosen_while_it_is_seen(viewer):
    viewer.choose(slices(3))
    viewer.ask("locate the liver")
    card = viewer.page.locator("[data-testid=answer]")
    assert card.locator("[data-testid=answer-where]").inner_text() == "slice1.dcm · Slice 2 of 3 · L 450 W 790"
    viewer.page.wait_for_selector(".answer.selected")
    viewer.page.locator("[data-testid=stage]").focus()
    viewer.page.keyboard.press("ArrowDown")
    viewer.shows(3)
    viewer.page.wait_for_selector(".answer:not(.selected)")
    viewer.page.keyboard.press("]")
    viewer.page.wait_for_selector(f"{SHOWN}[data-window]:not([data-window='450,790'])")
    card.locator(".question").click()
    viewer.shows(2)
    viewer.page.wait_for_selector(f"{SHOWN}[data-window='450,790']")
    viewer.page.locator("[data-testid=stage]").focus()
    viewer.page.keyboard.press("]")
    viewer.page.wait_for_selector(f"{SHOWN}[data-window]:not([data-window='450,790'])")
    card.locator(".question").click()
    viewer.page.wait_for_selector(f"{SHOWN}[data-window='450,790']")
    viewer.page.click("#stacks .remove")
    viewer.page.wait_for_selector("[data-testid=answer-where]:has-text('image removed')")
    png = card.locator("[data-save=png]")
    assert (png.is_disabled(), png.get_attribute("title")) == (True, "image removed")
    assert card.locator("[data-save=json]").is_enabled()


def test_saving_says_that_regions_switched_off_are_saved_too(scan_shown):
    scan_shown.ask("locate the liver and the spleen")
    assert scan_shown.page.locator("[data-testid=saves-all]").is_hidden()
    scan_shown.page.locator("[data-testid=region-switch]").first.click()
    assert scan_shown.page.locator("[data-testid=saves-all]").inner_text() == "saves all regions"


def test_linked_pictures_keep_their_distance_at_an_end(viewer):
    viewer.choose(slices(5))
    stages = viewer.page.locator("[data-testid=stage]")
    stages.focus()
    viewer.page.keyboard.press("Home")
    for key in ("c", "l"):
        viewer.page.keyboard.press(key)
    stages.nth(1).focus()
    viewer.page.keyboard.press("ArrowDown")
    viewer.page.keyboard.press("ArrowDown")
    viewer.page.keyboard.press("l")
    stages.nth(0).focus()
    viewer.page.keyboard.press("End")
    assert [pane["number"] for pane in viewer.state["panes"]] == [4, 4]
    viewer.page.keyboard.press("Home")
    assert [pane["number"] for pane in viewer.state["panes"]] == [0, 2]


def test_pictures_of_different_planes_are_not_linked_and_take_windows_of_ct(viewer):
    viewer.choose({"volume.nii": volume()})
    page = viewer.page
    page.locator("[data-testid=stage]").focus()
    page.keyboard.press("1")
    page.wait_for_selector(f"{SHOWN}[data-window='-600,1500']")
    assert page.locator("#status").text_content().count("slice") == 0
    page.keyboard.press("c")
    page.select_option("#plane", "coronal")
    page.wait_for_selector("[data-testid=pane]:nth-child(2):not([data-loading]) .corner.nw:has-text('Coronal')")
    before = [pane["number"] for pane in viewer.state["panes"]]
    page.locator("[data-testid=stage]").nth(1).focus()
    page.keyboard.press("ArrowDown")
    assert [pane["number"] for pane in viewer.state["panes"]] == [before[0], before[1] + 1]


def test_an_answer_shows_in_each_pane_with_its_picture(scan_shown):
    scan_shown.page.click("#compare")
    scan_shown.page.wait_for_selector("[data-testid=pane]:nth-child(2)[data-shown]:not([data-loading])")
    scan_shown.ask("locate the liver")
    assert [label for label, _ in scan_shown.regions()] == ["liver", "liver"]


def test_what_is_typed_meanwhile_stays_and_is_asked_next(scan_shown):
    page = scan_shown.page
    with scan_shown.hold("**/v1/regions"):
        page.fill("#question", "locate the liver")
        page.press("#question", "Enter")
        page.fill("#question", "locate the spleen")
        page.press("#question", "Enter")
        page.fill("#question", "locate the")
        assert page.locator("#ask-status").inner_text() == "Asking…"
    page.locator("[data-testid=answer]").nth(1).wait_for()
    page.wait_for_selector("#ask-status:empty", state="attached")
    assert page.locator("#question").input_value() == "locate the"
    assert {answer["question"] for answer in scan_shown.state["answers"]} == {"locate the liver", "locate the spleen"}


def test_a_picture_that_failed_is_fetched_again(viewer):
    viewer.page.route("**/picture.png*", lambda route: route.fulfill(status=400, body="{}"))
    viewer.page.set_input_files(
        "#files", [{"name": "scan.dcm", "mimeType": "application/octet-stream", "buffer": SCAN.read_bytes()}]
    )
    viewer.page.wait_for_selector(".failed:has-text('status 400')")
    for again in ("#reset", "[data-testid=stack]"):
        with viewer.page.expect_response("**/picture.png*"):
            viewer.page.click(again)
    viewer.page.wait_for_selector(SHOWN)
    assert viewer.ask_in_vain("locate the liver") == "There is no picture to ask about."
    viewer.page.unroute("**/picture.png*")
    viewer.page.click("#reset")
    viewer.page.wait_for_selector(f"{SHOWN}[data-window='450,790'] .failed:empty", state="attached")


def test_single_keys_work_on_a_slider_and_a_list_of_choices(viewer):
    viewer.choose(slices(3))
    for place, tool in (("[data-testid=slider]", "m"), ("#preset", "b")):
        viewer.page.locator(place).focus()
        viewer.page.keyboard.press(tool)
    assert viewer.state["tool"] == "box"
    viewer.page.locator("[data-testid=slider]").press("Home")
    viewer.shows(1)


def test_nothing_scrolls_while_a_ruler_is_drawn(viewer):
    viewer.choose(slices(3))
    viewer.page.click("#tool-ruler")
    mouse = viewer.page.mouse
    mouse.move(600, 300)
    mouse.down()
    mouse.move(650, 300)
    mouse.wheel(0, 100)
    viewer.page.keyboard.press("PageDown")
    mouse.move(700, 300)
    mouse.up()
    viewer.shows(2)
    assert viewer.page.locator("[data-testid=ruler]").count() == 1


def test_a_new_answer_or_ruler_shows_overlays(scan_shown):
    page = scan_shown.page
    off = "#overlays[aria-pressed=false]"
    page.click("#overlays")
    page.wait_for_selector(off)
    scan_shown.ask("locate the liver")
    assert len(scan_shown.regions()) == 1
    page.click("#overlays")
    page.wait_for_selector(off)
    page.click("#tool-ruler")
    scan_shown.drag((600, 300), (700, 300))
    assert page.locator("[data-testid=ruler]").count() == 1
    assert page.locator(off).count() == 0


def test_an_image_without_a_name_keeps_its_number(browser, tmp_path):
    paths = []
    for number, (name, data) in enumerate([("scan.dcm", SCAN.read_bytes()), ("volume.nii", volume())]):
        paths.append(tmp_path / f"{number}-{name}")
        paths[-1].write_bytes(data)
    with running("--no-browser", *paths, command="view") as started:
        viewer = Viewer(browser, address(started)).ready()
        viewer.page.locator("#stacks .remove").first.click()
        assert viewer.page.locator("#stacks .name").all_text_contents() == ["Image 2"]
        viewer.close()


def test_a_length_stands_at_its_line_and_its_button_leaves_with_it(scan_shown):
    viewer = scan_shown
    viewer.page.click("#tool-ruler")
    viewer.drag((500, 500), (700, 250))
    text = viewer.page.locator("[data-testid=ruler] text").bounding_box()
    assert abs(text["x"] + text["width"] / 2 - 600) + abs(text["y"] + text["height"] / 2 - 375) < 90
    remove = viewer.page.locator("[data-testid=ruler-remove]")
    assert remove.is_visible()
    viewer.page.keyboard.press("Escape")
    viewer.drag((520, 300), (560, 300))
    assert remove.is_visible()
    viewer.page.mouse.move(800, 600)
    viewer.page.keyboard.down("Control")
    viewer.page.mouse.wheel(0, -1500)
    viewer.page.keyboard.up("Control")
    viewer.page.wait_for_selector("[data-testid=picture][style*=pixelated]")
    assert remove.is_hidden()


def test_a_series_that_nobody_has_scrolled_shows_its_middle(viewer):
    viewer.choose(slices(5))
    viewer.shows(3)
    viewer.page.locator("[data-testid=stage]").focus()
    viewer.page.keyboard.press("Home")
    viewer.choose(slices(7))
    viewer.shows(1)


def test_kinds_have_the_names_of_the_program():
    texts = json.loads((VIEWER / "texts.json").read_text("utf-8"))
    for kind, (english, chinese) in MODALITY_NAMES.items():
        assert (texts["en"][f"modality_{kind}"], texts["zh"][f"modality_{kind}"]) == (english, chinese)


def test_both_languages_have_all_texts():
    texts = json.loads((VIEWER / "texts.json").read_text("utf-8"))
    assert texts["en"].keys() == texts["zh"].keys()
    page = (VIEWER / "index.html").read_text("utf-8")
    assert set(re.findall(r'data-(?:text|aria|hint|placeholder)="(\w+)"', page)) <= texts["en"].keys()
    for name in ("en", "zh"):
        for key, text in texts[name].items():
            assert text, key
            assert set(re.findall(r"{\w+}", text)) == set(re.findall(r"{\w+}", texts["en"][key])), key


def test_no_module_makes_elements_of_text():
    for file in VIEWER.iterdir():
        if file.name.endswith(".js"):
            text = file.read_text("utf-8")
            assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text), (
                file.name
            )
