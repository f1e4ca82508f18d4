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


def test_it_prints_on_six_pages_at_most(shown, tmp_path):
    browser, file = shown
    browser.open(file, 800)
    assert 1 < browser.printed(tmp_path / "page.pdf") <= 6
