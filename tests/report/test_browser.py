"""The page in a browser: at the widths of a telephone, a tablet and a screen, and in print."""

import pytest
from helpers.browser import PROGRAM, Browser

from fedxray.core.files import read_table, write_json
from fedxray.experiment.folder import Folder
from fedxray.report.figures import answer as of_answer
from fedxray.report.figures import results as of_results
from fedxray.report.figures import save
from fedxray.report.index import page

pytestmark = [pytest.mark.slow, pytest.mark.skipif(PROGRAM is None, reason="there is no Chromium on this machine")]
OVERFLOW = "document.documentElement.scrollWidth - window.innerWidth"


@pytest.fixture(scope="module")
def shown(config, results, tmp_path_factory):
    """(browser, file) of the page of the small experiment."""
    folder = Folder(tmp_path_factory.mktemp("browser") / "made-up")
    folder.root.mkdir()
    for path in results.root.iterdir():
        (folder.root / path.name).symlink_to(path)
    write_json(folder.config, config)
    summary, note = read_table(folder.summary), "Synthetic phantom data"
    figures = {
        "answer": of_answer.answer(read_table(folder.methods), 0.02),
        "metrics": of_results.metric_intervals(summary),
    }
    for name, figure in figures.items():
        save(figure, folder.figure(name), note)
    folder.pages.mkdir()
    folder.page("index").write_text(page(config, folder, note))
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser, folder.page("index")
    browser.close()


@pytest.mark.parametrize("width", [390, 800, 1280])
def test_no_width_needs_scrolling_sideways_folded_or_unfolded(shown, width):
    browser, file = shown
    browser.open(file, width)
    assert browser.value(OVERFLOW) == 0
    browser.value("for (const part of document.querySelectorAll('details')) part.open = true")
    assert browser.value(OVERFLOW) == 0
    letters = "[...document.querySelectorAll('#answer svg text')].map((text) => text.getBoundingClientRect().height)"
    assert min(browser.value(letters)) > 9  # pixels


def test_the_browser_asks_for_the_file_and_for_nothing_else(shown):
    browser, file = shown
    browser.events.clear()
    browser.open(file, 800)
    assert browser.requested() == [file.as_uri()]


def test_a_table_sorts_by_a_click_and_back(shown):
    browser, file = shown
    browser.open(file, 800)
    column = "[...document.querySelectorAll('#compared tbody tr')].map((row) => parseFloat(row.cells[2].textContent))"
    before = browser.value(column)
    head = "document.querySelectorAll('#compared thead th')[2]"
    browser.value(f"{head}.click()")
    assert browser.value(column) == sorted(before)
    browser.value(f"{head}.click()")
    assert browser.value(column) == sorted(before, reverse=True)


def test_a_number_leads_to_its_row_which_unfolds(shown):
    browser, file = shown
    browser.open(file, 800)
    assert not browser.value("document.querySelector('#rows').open")
    browser.value("document.querySelector('#answer a.n').click()")
    browser.value("new Promise((done) => setTimeout(done, 200))")
    assert browser.value("document.querySelector('#rows').open")
    place = browser.value("document.querySelector('tr:target').getBoundingClientRect().top")
    assert 0 <= place < 900


@pytest.fixture(scope="module")
def explored(swept, shown):
    """The browser, with the page of two learning rates; and all rows of its table of runs as texts."""
    config, folder = swept
    browser, _ = shown
    folder.pages.mkdir()
    folder.page("index").write_text(page(config, folder, "Synthetic phantom data"))
    browser.open(folder.page("index"), 800)
    rows = (
        "[...document.querySelectorAll('#runs tbody tr')].map((row) => [...row.cells].map((cell) => cell.textContent))"
    )
    return browser, browser.value(rows)


POINTS = "[...document.querySelectorAll('#explore .chart [tabindex]')]"
SAID = "document.querySelector('#explore .said-of-run').textContent"


def chosen(browser, label, value):
    """Choose a value of the select of this label."""
    found = f"[...document.querySelectorAll('#explore label')].find((one) => one.textContent.startsWith('{label}'))"
    browser.value(f"((one) => {{one.value = '{value}'; one.dispatchEvent(new Event('change'))}})({found}.control)")


def test_every_run_is_a_point_that_says_what_it_is_by_mouse_and_by_keys(explored):
    browser, rows = explored
    assert browser.value(f"{POINTS}.length") == len(rows)
    assert browser.value(f"{POINTS}.filter((point) => point.tabIndex === 0).length") == 1
    folders = {row[-2] for row in rows}
    browser.value(f"{POINTS}.find((point) => point.tabIndex === 0).focus()")
    seen = [browser.value(SAID)]
    for _ in rows[1:]:
        press = {"key": "ArrowRight", "code": "ArrowRight", "windowsVirtualKeyCode": 39}
        browser.call("Input.dispatchKeyEvent", type="keyDown", **press)
        browser.call("Input.dispatchKeyEvent", type="keyUp", **press)
        seen.append(browser.value(SAID))
    assert {said.rpartition("/runs/")[2] for said in seen} == folders
    assert len(set(seen)) == len(rows)  # the keys go through all, each once
    assert all(("test AUROC" in said) == ("chosen yes" in said) for said in seen)
    middle = f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])({POINTS}[0].getBoundingClientRect())"
    browser.value(f"{POINTS}[0].scrollIntoView({{block: 'center'}})")
    x, y = browser.value(middle)
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    assert browser.value(SAID) == browser.value(f"document.elementFromPoint({x}, {y}).getAttribute('aria-label')")


def test_axes_filters_and_shapes_are_chosen(explored):
    browser, rows = explored
    tested = sum("yes" in row for row in rows)
    chosen(browser, "Up", "test AUROC, all hospitals")
    assert browser.value(f"{POINTS}.length") == tested
    assert f"{tested} of {len(rows)} runs are shown" in browser.value(
        "document.querySelector('#explore .counted').textContent"
    )
    chosen(browser, "Up", "hospital")
    assert browser.value(f"{POINTS}.length") == len(rows)
    shapes = f"new Set({POINTS}.map((point) => point.getAttribute('d')))"
    assert browser.value(f"{shapes}.size") == len({row[0] for row in rows})  # a shape for each mode, not a colour alone
    boxes = (
        "[...document.querySelectorAll('#explore input')].find((box) => box.parentNode.textContent.trim() === 'alone')"
    )
    browser.value(f"{boxes}.click()")
    assert browser.value(f"{POINTS}.length") == sum(row[0] != "alone" for row in rows)
    browser.value(f"{boxes}.click()")


@pytest.mark.parametrize("width", [390, 800, 1280])
def test_the_figure_of_all_runs_fits_every_width_and_is_left_out_in_print(explored, width):
    browser, _ = explored
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=True)
    browser.wait(f"document.querySelector('#explore .chart svg:last-of-type').getBoundingClientRect().right <= {width}")
    assert browser.value(OVERFLOW) == 0
    browser.call("Emulation.setEmulatedMedia", media="print")
    assert browser.value("getComputedStyle(document.querySelector('#explore .drawn')).display") == "none"
    browser.call("Emulation.setEmulatedMedia", media="")


def test_it_prints_on_six_pages_at_most(shown, tmp_path):
    browser, file = shown
    browser.open(file, 800)
    assert 1 < browser.printed(tmp_path / "page.pdf") <= 6
