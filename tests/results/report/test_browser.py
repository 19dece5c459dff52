"""The page in a real browser. FEDUNLEARN_BROWSER=required fails where there is none."""

import base64
import json
import os
import re
import shutil

import pytest

from fedunlearn.results.report import write, writing
from tests.support import simulated_runs as runs
from tests.support.simulated_runs import simulated

pytestmark = pytest.mark.slow

BROWSERS = ("chromium", "chromium-browser", "google-chrome")

CONTRASTS = """
const rgb = text => text.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => {
  const f = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b);
};
const behind = node => {
  if (node.closest("#label-map, #layers")) {
    node.scrollIntoView({block: "center"});
    const { x, y, width, height } = node.getBoundingClientRect();
    const cell = document.elementsFromPoint(x + width / 2, y + height / 2)
      .find(e => e.tagName === "path" && e.closest(".mark-rect") && e.getAttribute("fill"));
    if (cell) return rgb(getComputedStyle(cell).fill);
  }
  for (; node; node = node.parentElement) {
    const found = rgb(getComputedStyle(node).backgroundColor);
    if (found.length < 4 || found[3] > 0) return found;
  }
  return [255, 255, 255];
};
const low = [];
let count = 0;
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const node = walk.currentNode.parentElement;
  if (!walk.currentNode.data.trim() || node.closest("script, style")) continue;
  if (!node.checkVisibility()) continue;
  const style = getComputedStyle(node);
  const ink = rgb(node.closest("svg") ? style.fill : style.color);
  const [a, b] = [light(ink), light(behind(node))].sort((x, y) => y - x);
  count += 1;
  if ((a + 0.05) / (b + 0.05) < 4.5) low.push([walk.currentNode.data, style.color, style.fill]);
}
return [count, low];
"""


CUT_OFF = """
const cut = [];
for (const node of document.querySelectorAll("body *")) {
  const drawn = node.closest("svg");
  if (node.closest(".scroll > *, script, style, .unseen, .skip")) continue;
  if (!node.checkVisibility()) continue;
  if (drawn && (node.tagName !== "text" || !node.textContent.trim())) continue;
  const { left, right } = node.getBoundingClientRect();
  const own = drawn || node.children.length === 0 ? node.textContent : "";
  if (left < -0.5 || right > innerWidth + 0.5 || (node.closest(".role-axis") && own.includes("…")))
    cut.push([node.tagName, node.closest("[id]").id, own, left, right]);
}
return cut;
"""
"""Everything that is not in the window, but for what a table scrolls to."""

LONG = "a_strategy(with=every_hyperparameter,of_a_name=1e-05,that_nobody_would_type=0.25)"


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    chauffeur = shutil.which("chromedriver")
    if browser is None or chauffeur is None:
        message = "needs Chromium and its chromedriver (Debian: apt install chromium-driver)"
        if os.environ.get("FEDUNLEARN_BROWSER") == "required":
            pytest.fail(f"FEDUNLEARN_BROWSER=required: this test {message}.")
        pytest.skip(message)
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = browser
    profile = tmp_path_factory.mktemp("profile")
    for flag in ("--headless=new", "--no-sandbox", f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with webdriver.Chrome(options, webdriver.ChromeService(chauffeur)) as running:
        yield running


@pytest.fixture(scope="module")
def pages(two_requests, sweeping, tmp_path_factory):
    """Pages of a run, of a multirun and of long names, without the figures beside them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "figures", lambda folder, charts: [])
        patch.setitem(runs.ENDS, LONG, runs.ENDS["federaser"])
        long = simulated(tmp_path_factory.mktemp("long"), ("retrain", "none", LONG), seeds=(0, 1))
        folders = {"run": two_requests, "multirun": sweeping, "long": long}
        return {name: write(folder)[0] for name, folder in folders.items()}


@pytest.fixture
def page(driver, pages, request):
    """Open a page and wait until every chart is drawn."""
    show(driver, pages[getattr(request, "param", "run")])
    return driver


def show(driver, path, width=1400):
    size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    for kind in ("browser", "performance"):
        driver.get_log(kind)
    driver.get(path.as_uri())
    wait(driver, "return document.readyState === 'complete'")
    wait(driver, "return document.querySelectorAll('.chart:not(:has(svg))').length === 0")


def wait(driver, script):
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(driver, 60).until(lambda found: found.execute_script(script))


def settle(driver, act):
    """Do something and wait until all charts were drawn again."""
    act()
    driver.execute_async_script("setTimeout(arguments[0], 400)")


def drawn(driver, chart, layer="picked_marks"):
    """Where the marks of a chart's layer are."""
    marks = f"#{chart} .{layer} path"
    return driver.execute_script(
        f"return [...document.querySelectorAll('{marks}')].map(m => m.getAttribute('transform'))"
    )


def choose(driver, name, value):
    from selenium.webdriver.support.ui import Select

    settle(driver, lambda: Select(driver.find_element("id", name)).select_by_value(value))


@pytest.mark.parametrize("page", ["run", "multirun"], indirect=True)
def test_every_chart_is_drawn_without_an_error_or_a_request(page):
    assert page.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    sent = [event for event in events if event["method"] == "Network.requestWillBeSent"]
    asked = [event["params"]["request"]["url"] for event in sent]
    assert [url for url in asked if not url.startswith("data:")] == [page.current_url]
    marks = page.execute_script(
        "return [...document.querySelectorAll('.chart')]"
        ".map(c => c.querySelectorAll('svg .role-mark path, svg .role-mark line').length)"
    )
    assert len(marks) >= (9 if "section-layers" in page.page_source else 7)
    assert min(marks) > 0


def test_a_strategy_that_is_unchecked_turns_grey(page):
    assert len(drawn(page, "tradeoff-utility")) == 6
    assert drawn(page, "tradeoff-utility", "grey_marks") == []
    settle(page, page.find_element("css selector", "#pick_1").click)
    assert len(drawn(page, "tradeoff-utility")) == 5
    assert len(drawn(page, "tradeoff-epochs")) == 5
    assert len(drawn(page, "tradeoff-utility", "grey_marks")) == 1
    settle(page, page.find_element("css selector", "#pick_1").click)
    assert len(drawn(page, "tradeoff-utility")) == 6


def test_retraining_has_a_switch_as_every_strategy_has(page):
    line = "#forgetting .retraining_marks path, #forgetting .retraining_pathgroup path"
    count = f"return document.querySelectorAll('{line}').length"
    assert page.find_element("css selector", "label:has(#pick_0)").text == "retrain"
    assert page.execute_script(count) > 0
    rules = "return document.querySelectorAll('#tradeoff-utility .goal_rule_marks line').length"
    assert page.execute_script(rules) == 1
    settle(page, page.find_element("id", "pick_0").click)
    assert page.execute_script(count) == page.execute_script(rules) == 0


def test_single_seeds_are_thin_lines_where_all_are_shown_and_none_where_one_is(page):
    count = "return document.querySelectorAll('#forgetting [class*=seeds] path').length"
    assert page.execute_script(count) >= 2 * 6
    choose(page, "seed", "1")
    assert page.execute_script(count) == 0


def test_no_axis_goes_beyond_what_a_measure_can_be(page):
    ticks = (
        "return [...document.querySelectorAll('#forgetting .role-axis .role-axis-label text')]"
        ".filter(t => t.getAttribute('text-anchor') === 'end').map(t => t.textContent)"
    )
    for metric in ("attack_success_rate", "test_accuracy", "forget_accuracy"):
        choose(page, "metric", metric)
        values = [float(text.replace("\N{MINUS SIGN}", "-")) for text in page.execute_script(ticks)]
        assert len(values) > 2
        assert min(values) >= 0
        assert max(values) <= 100


@pytest.mark.parametrize("page", ["run", "multirun"], indirect=True)
def test_no_number_has_an_exponent_and_no_sentence_a_backtick(page):
    numbers = page.execute_script(
        "return [...document.querySelectorAll('.chart svg text')].map(t => t.textContent)"
    )
    assert len(numbers) > 50
    assert [text for text in numbers if re.search(r"\de[+\-\N{MINUS SIGN}]?\d", text)] == []
    page.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert "`" not in page.find_element("tag name", "body").text


@pytest.mark.parametrize("width", [400, 800, 1400])
@pytest.mark.parametrize("name", ["run", "multirun", "long"])
def test_nothing_is_cut_off(driver, pages, name, width):
    show(driver, pages[name], width)
    driver.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert driver.execute_script(CUT_OFF) == []


@pytest.mark.parametrize("width", [400, 1400])
def test_a_table_says_so_exactly_if_it_scrolls(driver, pages, width):
    show(driver, pages["run"], width)
    settle(
        driver,
        lambda: driver.execute_script(
            "document.querySelectorAll('details').forEach(d => d.open = true)"
        ),
    )
    pairs = driver.execute_script(
        "return [...document.querySelectorAll('.scroll')].map(box => ["
        "box.scrollWidth > box.clientWidth,"
        "box.previousElementSibling.querySelector('.sideways').checkVisibility()])"
    )
    assert len(pairs) > 4
    assert all(wide == told for wide, told in pairs)
    assert any(wide for wide, _ in pairs) is (width == 400)


@pytest.mark.parametrize(
    ("name", "value", "charts"),
    [
        ("measure", "forget_accuracy", ("tradeoff-utility", "tradeoff-sent")),
        ("seed", "1", ("tradeoff-utility", "tradeoff-epochs")),
        ("request", "1", ("tradeoff-utility",)),
    ],
)
def test_a_choice_moves_the_points(page, name, value, charts):
    before = {chart: drawn(page, chart) for chart in charts}
    choose(page, name, value)
    for chart in charts:
        assert len(drawn(page, chart)) == len(before[chart])
        assert drawn(page, chart) != before[chart]


def test_the_measure_of_the_curves_is_in_their_title(page):
    title = "return document.querySelector('#forgetting .role-title').textContent"
    assert "Attack success rate (%)" in page.execute_script(title)
    choose(page, "metric", "membership_auc")
    assert "Membership AUC" in page.execute_script(title)


def test_every_input_is_reached_by_tab(page):
    from selenium.webdriver import ActionChains, Keys

    wanted = page.execute_script(
        "document.body.focus(); return [...document.querySelectorAll("
        "'input, select, summary, a[href], .scroll')].filter(e => e.checkVisibility())"
        ".map((e, n) => e.dataset.stop = String(n))"
    )
    reached = set()
    for _ in range(len(wanted) + 5):
        ActionChains(page).send_keys(Keys.TAB).perform()
        reached.add(page.execute_script("return document.activeElement.dataset.stop"))
    assert len(wanted) > 15
    assert set(wanted) <= reached


@pytest.mark.parametrize("page", ["run", "multirun"], indirect=True)
def test_all_text_stands_out_from_what_is_behind_it(page):
    page.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    count, low = page.execute_script(CONTRASTS)
    assert count > 100
    assert low == []


@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("name", ["run", "multirun"])
def test_the_page_is_never_wider_than_the_window(driver, pages, name, width):
    show(driver, pages[name], width)
    driver.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert driver.execute_script("return innerWidth") == width
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    charts = driver.execute_script(
        "return [...document.querySelectorAll('.chart svg')]"
        ".map(c => c.getBoundingClientRect().width)"
    )
    assert min(charts) > 200


def test_a_click_on_a_point_opens_its_files(page):
    from selenium.webdriver import ActionChains

    start = page.current_url
    mark = page.find_element("css selector", "#tradeoff-epochs .picked_marks path")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", mark)
    ActionChains(page).move_to_element(mark).click().perform()
    wait(page, f"return location.href !== {json.dumps(start)}")
    assert page.current_url.startswith(start.removesuffix("report.html"))


def test_the_page_prints(page):
    assert base64.b64decode(page.print_page()).startswith(b"%PDF")
