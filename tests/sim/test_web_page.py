"""The demo page in headless Chromium: picked, drawn, wrong, lost, narrow, dark, and without a mouse."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from selenium.webdriver import ActionChains, Chrome, ChromeOptions, Keys
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from evenstep.compiler import compile_network
from evenstep.generate import generate_block
from evenstep.host import Engine
from evenstep.spec import Geometry
from evenstep_golden.sample import sample_images, sample_network
from evenstep_sim.virtual import VerilatedTransport, build_engine
from evenstep_sim.web import Api
from tests.sim.web import Boards, build_small_engine, serving_page, small_program

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-prefers-reduced-motion",
)
ANSWERED = ("equal", "different", "failed")


def find_program(name: str) -> str:
    path = shutil.which(name)
    assert path, f"{name} is missing: apt-get install -y chromium chromium-driver"
    return path


class Page:
    """The page as its user has it."""

    def __init__(self, browser: Chrome):
        self.browser = browser

    def open(self, url: str) -> None:
        self.browser.get(url)
        self.answer()

    def answer(self) -> str:
        """Wait until the engine has answered for the picture that is there; how it did."""
        WebDriverWait(self.browser, 60, 0.02).until(lambda _: self.state() in ANSWERED)
        return self.state()

    def state(self) -> str:
        return str(self.find("body").get_attribute("data-state"))

    def find(self, selector: str) -> WebElement:
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        return self.find(selector).text

    def all(self, selector: str) -> list[str]:
        return [element.text for element in self.browser.find_elements(By.CSS_SELECTOR, selector)]

    def logits(self) -> list[int]:
        return [int(text.replace(",", "").replace("\u2212", "-")) for text in self.all("#classes .value")]

    def pick(self, number: int) -> str:
        self.browser.find_elements(By.CSS_SELECTOR, "#samples button")[number].click()
        return self.answer()

    def draw(self, *places: tuple[float, float]) -> str:
        """Draw with the mouse from place to place, in shares of the picture from its middle."""
        canvas = self.find("#picture")
        width, height = canvas.size["width"], canvas.size["height"]
        (x, y), *more = [(round(x * width), round(y * height)) for x, y in places]
        chain = ActionChains(self.browser, duration=30).move_to_element_with_offset(canvas, x, y).click_and_hold()
        for to in more:
            chain.move_to_element_with_offset(canvas, *to)
        chain.release().perform()
        return self.answer()

    def emulate(self, width: int, scheme: str) -> None:
        metrics = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", features)

    def complaints(self) -> list[str]:
        """What the browser's console says, refused requests among it."""
        return [entry["message"] for entry in self.browser.get_log("browser")]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    options = ChromeOptions()
    options.binary_location = find_program("chromium")
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = Chrome(options, Service(find_program("chromedriver")))
    yield browser
    browser.quit()


@pytest.fixture
def page(browser: Chrome) -> Page:
    page = Page(browser)
    page.emulate(1100, "light")
    page.complaints()
    return page


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> Boards:
    return Boards(build_small_engine(tmp_path_factory.mktemp("engine")))


@contextmanager
def small_page(boards: Boards, page: Page, *, hidden: bool = False) -> Iterator[Api]:
    with serving_page(boards.open, small_program(hidden=hidden)) as (server, api):
        page.open(server.url)
        yield api


def test_pick_and_draw_on_the_shipped_network(page: Page, tmp_path: Path) -> None:
    """The main job, on the engine that `evenstep demo` makes."""
    network, geometry, images = sample_network(), Geometry(), sample_images()
    manifest = generate_block("engine", geometry, tmp_path)
    executable = build_engine(tmp_path / f"{manifest.module}.json")
    program = compile_network(network, geometry)

    def open_engine() -> Engine:
        return Engine(VerilatedTransport(executable), geometry)

    with serving_page(open_engine, program) as (server, _):
        page.open(server.url)
        for number, label in ((9, "Ankle boot"), (1, "Trouser")):
            place = int(np.flatnonzero(images.labels == number)[0])
            assert page.pick(number) == "equal"
            assert (page.text("#prediction"), page.text("#truth")) == (label, "✓ right")
            assert page.text("#agreement") == "✓ All 4 layers equal to the integer reference"
            assert page.logits() == program.boundaries(images.flat[place])[-1].tolist()
        assert page.all("#layers .verdict") == ["✓ equal to the reference"] * 4
        assert page.all("#layers strong") == ["fc1", "fc2", "fc3", "last"]
        assert page.all("#classes li > span:first-child") == list(network.labels)
        assert (page.text("#cycles"), page.text("#predicted")) == ("7,447", "7,447")
        before = page.logits()
        page.find("#clear").click()
        assert page.answer() == "equal"
        assert page.logits() == program.boundaries(np.zeros(784, np.int64))[-1].tolist() != before
        # A bag: its body, and a handle.
        page.find("#brush").send_keys(Keys.END)
        body = [(-0.35, 0), (0.35, 0), (0.35, 0.15), (-0.35, 0.15), (-0.35, 0.3), (0.35, 0.3)]
        assert page.draw(*body) == "equal"
        page.find("#brush").send_keys(Keys.HOME)
        assert page.draw((-0.2, -0.05), (-0.15, -0.3), (0.15, -0.3), (0.2, -0.05)) == "equal"
        assert (page.text("#prediction"), page.text("#truth")) == ("Bag", "")
        assert page.text("#agreement") == "✓ All 4 layers equal to the integer reference"
    assert page.complaints() == []


def test_latest_picture_wins(page: Page, boards: Boards) -> None:
    """While one question is on its way no other is asked, and what is shown in the end is the last picture."""
    with small_page(boards, page) as api:
        asked: list[np.ndarray] = []
        classify = api.classify

        def listen(body: bytes):
            asked.append(np.array(json.loads(body)["pixels"]))
            return classify(body)

        api.classify = listen  # type: ignore[method-assign]
        page.find("#clear").click()
        page.answer()
        page.draw(*[(0.4 * x, y) for y in (-0.3, 0, 0.3) for x in (-1, 1)])
        last = asked[-1].reshape(28, 28)
        assert last[14 + 8, 14 + 11] == 255, "The end of the line must be in the last picture that was asked about"
        assert page.logits() == small_program().boundaries(asked[-1])[-1].tolist()
        assert any(0 < value < 255 for value in asked[-1]), "The brush must have a soft edge"
        spans = page.browser.execute_script(
            "return performance.getEntriesByType('resource').filter((e) => e.name.endsWith('classify'))"
            ".map((e) => [e.startTime, e.responseEnd])"
        )
        assert len(spans) > 3
        assert all(later[0] >= earlier[1] for earlier, later in pairwise(spans))


def test_wrong_code_is_shown(page: Page, boards: Boards) -> None:
    boards.flip = (5, 1)
    program = small_program()
    try:
        with small_page(boards, page):
            assert page.pick(3) == "different"
            place = int(np.flatnonzero(sample_images().labels == 3)[0])
            expected = int(program.boundaries(sample_images().flat[place])[0][5])
            wrong = f"channel 5 is {expected ^ 1}, should be {expected}"
            assert page.text("#agreement") == f"✗ Differs from the integer reference: fc1, {wrong}"
            assert page.all("#layers .verdict") == [f"✗ {wrong}", "✓ equal to the reference"]
            assert "bad" in str(page.find("#agreement").get_attribute("class")).split()
            # Its square is framed: the canvas has the colour of errors in it.
            framed = page.browser.execute_script(
                "const c = document.querySelector('#layers canvas'); const p = c.getContext('2d')"
                ".getImageData(5 * 16, 0, 16, 16).data; return [...p.slice(4 * 34, 4 * 34 + 3)]"
            )
            assert framed == [0xB3, 0x26, 0x1E]
    finally:
        boards.flip = None


def test_layers_that_cannot_be_read_are_named(page: Page, boards: Boards) -> None:
    with small_page(boards, page, hidden=True):
        assert page.text("#agreement") == "✓ 1 of 2 layers can be read, all equal to the integer reference"
        assert page.all("#layers .verdict") == ["overwritten by later layers", "✓ equal to the reference"]


def test_engine_and_server_that_go_away_are_shown(page: Page, boards: Boards) -> None:
    with small_page(boards, page):
        assert not page.find("#alert").is_displayed()
        boards.unplug()
        assert page.pick(2) == "failed"
        assert page.text("#alert-text") == "The simulated engine ended with status -9"
        assert page.text("#agreement") == "No answer for this picture: what is shown belongs to an earlier one."
        page.find("#again").click()
        assert page.answer() == "equal"
        assert not page.find("#alert").is_displayed()
    # Connections that are open yet are told; then nobody answers.
    messages = []
    for _ in range(8):  # connections of a browser, and two to spare
        assert page.pick(4) == "failed"
        messages.append(page.text("#alert-text"))
    assert set(messages[:-1]) <= {"The demo has ended", messages[-1]}
    assert messages[-1].endswith("check that evenstep demo --web still runs")


def test_without_a_mouse(page: Page, boards: Boards) -> None:
    """Samples and the picture are reached and used by keys; everything has a name."""
    with small_page(boards, page):
        sample = page.find("#samples button:nth-child(8)")
        assert sample.accessible_name == "Sample 8: 7"
        sample.send_keys(Keys.ENTER)
        assert page.answer() == "equal"
        assert sample.get_attribute("aria-pressed") == "true"
        before = page.logits()
        page.find("#picture").send_keys(Keys.ARROW_LEFT * 3, Keys.ARROW_DOWN, Keys.SPACE, Keys.ARROW_UP * 4, Keys.SPACE)
        assert page.answer() == "equal"
        assert page.logits() != before
        assert sample.get_attribute("aria-pressed") == "false"
        page.find("#erase").send_keys(Keys.SPACE)
        drawn = page.logits()
        page.find("#picture").send_keys(Keys.SPACE)
        assert page.answer() == "equal"
        assert page.logits() != drawn
        for element in page.browser.find_elements(By.CSS_SELECTOR, "button, input, #picture, #layers canvas"):
            assert element.accessible_name or not element.is_displayed()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1100])
def test_widths_and_schemes(page: Page, boards: Boards, width: int, scheme: str) -> None:
    page.emulate(width, scheme)
    with small_page(boards, page):
        run = page.browser.execute_script
        assert run("return document.documentElement.scrollWidth <= innerWidth"), "Nothing may stick out"
        background = run("return getComputedStyle(document.body).backgroundColor")
        shade = sum(int(number) for number in re.findall(r"\d+", background)) / 3
        assert shade < 60 if scheme == "dark" else shade > 200
        corner = run("return [...document.querySelector('#picture').getContext('2d').getImageData(0, 0, 1, 1).data]")
        assert corner[0] < 60 if scheme == "dark" else corner[0] > 200, "Canvases must follow the scheme"


def test_contrast_of_all_texts() -> None:
    """At least 4.5 to 1 (WCAG 2, AA), in both schemes, by the colours of the style sheet."""
    style = (Path(__file__).parents[2] / "sim/evenstep_sim/web/static/style.css").read_text("utf-8")
    light, dark = (dict(re.findall(r"--([\w-]+): (#\w{6});", part)) for part in style.split("@media", 2)[:2])
    assert len(light) == len(dark) == 16
    pairs = [("text", "page"), ("text", "card"), ("quiet", "page"), ("quiet", "card"), ("text", "soft")]
    pairs += [("good", "card"), ("good", "good-soft"), ("bad", "card"), ("bad", "bad-soft"), ("accent", "card")]
    for colors in (light, dark):
        for front, back in pairs:
            one, other = sorted((_luminance(colors[front]), _luminance(colors[back])), reverse=True)
            assert (one + 0.05) / (other + 0.05) >= 4.5, (front, back)


def _luminance(color: str) -> float:
    parts = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
