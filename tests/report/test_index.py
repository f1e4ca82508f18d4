"""The one page: it answers first, explains its words, and each of its numbers is in the file and row that it names."""

import html
import re
import shutil
from html.parser import HTMLParser

import pandas as pd
import pytest
import yaml
from helpers.analysis import DRAW, SITES
from helpers.cited import check
from snakemake.utils import update_config

from fedxray.analysis.answer import answers, plain
from fedxray.core.files import read_json, read_table, write_json, write_table
from fedxray.data import datasets
from fedxray.experiment.experiment import Experiment
from fedxray.experiment.folder import Folder
from fedxray.report import checklists
from fedxray.report.contents import CAPTIONS, PARTS, REMOTE_PARTS
from fedxray.report.figures import answer as of_answer
from fedxray.report.figures import methods as of_methods
from fedxray.report.figures import results as of_results
from fedxray.report.figures import save
from fedxray.report.figures import updates as of_strategies
from fedxray.report.index import Page, page

NOTE = "Synthetic phantom data"
HIDDEN = {"details", "style", "script", "svg", "code", "title"}  # or not in a reader's first way
VOID = {"meta", "br", "img", "input", "hr", "link"}
TITLE = re.compile(
    r"(?P<file>.+?), (?P<kind>line|key) (?P<rows>[^:]+?)(: (?P<columns>.+?))?(, in units of (?P<scale>.+))?$"
)


class Reader(HTMLParser):
    """Reads a page strictly: each element is closed where it was opened. Keeps links, ids and text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.attributes, self.numbers, self.visible = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.ids += [given["id"]] if "id" in given else []
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in VOID:
            self.open.append((tag, given.get("class", "")))
        if self.open[-1] == ("a", "n"):
            self.numbers.append([given["title"], given["href"], ""])

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open, tag
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        tags = [tag for tag, _ in self.open]
        if ("a", "n") in self.open:
            self.numbers[-1][2] += data
        elif not {*HIDDEN, "said"} & {*tags, *(word for _, kind in self.open for word in kind.split())}:
            self.visible.append(data)


def linked(results, root, config):
    """The folder `root` with all of `results`, and with the configuration."""
    root.mkdir(exist_ok=True)
    for path in results.root.iterdir():
        (root / path.name).symlink_to(path)
    write_json(root / "config.json", config)
    return Folder(root)


@pytest.fixture(scope="module")
def folder(config, results, tmp_path_factory):
    """The small experiment with its configuration and the figure that carries the answer."""
    folder = linked(results, tmp_path_factory.mktemp("page") / "made-up", config)
    save(of_answer.answer(read_table(folder.methods), 0.02), folder.figure("answer"), NOTE)
    return folder


@pytest.fixture(scope="module")
def text(config, folder):
    return page(config, folder, NOTE)


def words_of(text):
    """What a reader sees of a page or a piece of one."""
    text = re.sub(r"<(style|script).*?</\1>", " ", text, flags=re.DOTALL)
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", text)))


def check_numbers(text, folder):
    """Assert that each number is in the cells that it names, and that its link leads to the first of these rows."""
    found = Reader(text).numbers
    for title, href, said in found:
        told = TITLE.match(title).groupdict()
        rows = [int(row) if told["kind"] == "line" else row for row in told["rows"].split(", ")]
        columns = told["columns"].split(", ") if told["columns"] else ()
        check(folder.root, said, told["file"], rows, columns, float(told["scale"] or 1))
        row = re.search(rf'<tr id="{href[1:]}"><td>(.*?)</td>', text)
        assert row[1] == str(rows[0])
        assert re.findall(r"<h3>(.*?)</h3>", text[: row.start()])[-1] == told["file"]
    return found


def test_each_number_is_in_the_file_and_row_that_it_names(text, folder):
    found = check_numbers(text, folder)
    assert {"methods.csv", "config.json", "sites/registry.csv", "data/catalogue.json"} <= {
        title.split(", ")[0] for title, *_ in found
    }


def test_no_number_that_one_reads_first_is_without_its_source(text):
    assert not re.search(r"\d", "".join(Reader(text).visible))


def test_a_cell_is_long_by_its_words_and_not_by_where_its_number_is_from(text):
    cells = re.findall(r"<td( class=\"long\")?>(.*?)</td>", text, re.DOTALL)
    words = [(bool(is_long), words_of(cell)) for is_long, cell in cells]
    assert all(len(found) > 50 for is_long, found in words if is_long)
    assert not any(is_long for is_long, cell in cells if "title=" in cell and len(words_of(cell)) < 50)
    assert any(is_long for is_long, _ in words)


def test_the_page_needs_no_network_and_no_other_file(text):
    read = Reader(text)
    assert len(read.ids) == len(set(read.ids))
    for _, name, value in read.attributes:
        assert name not in ("src", "srcset", "action", "data", "background")
        if name in ("href", "xlink:href"):
            assert value.startswith("data:image/") or (value[0] == "#" and value[1:] in read.ids), value
    assert "://" not in text
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)


def test_the_same_results_give_the_same_page(text, config, folder):
    assert page(config, folder, NOTE) == text


def test_the_page_and_the_terminal_give_one_answer(text, folder):
    ((_, *both),) = answers(read_table(folder.methods), 0.02, 0.95)
    said = re.search(r'<div class="answer">(.*?)</div>', text, re.DOTALL)[1]
    assert words_of(said).replace("\u00a0", " ").strip() == " ".join(map(plain, both))
    place = [text.index(f'<section id="{name}">') for name in ("question", "answer", "hospitals", "compared", "spent")]
    assert place == sorted(place)


def test_each_term_is_explained_once_where_it_first_stands(text):
    body = text[text.index("<main>") : text.index('<section id="behind">')]
    terms = re.findall(r"<dfn>(.*?)</dfn>", body)
    assert len(terms) == len(set(terms)) >= 10
    for term in terms:
        before = words_of(re.sub(r"<svg.*?</svg>", "", body[: body.index(f"<dfn>{term}</dfn>")], flags=re.DOTALL))
        assert not re.search(rf"\b{term}\b", before, re.IGNORECASE), term


def test_synthetic_data_are_called_so_in_the_title_and_at_each_figure(text, config, folder):
    assert "<title>Synthetic data: " in text
    assert "<h1>Synthetic data: " in text
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", text, re.DOTALL)
    assert captions
    assert all(caption.startswith("<b>Synthetic data.</b>") for caption in captions)
    real = page(config, folder, "")
    assert "<h1>Should these hospitals train together?" in real
    assert '<p class="note">' not in real
    assert "<b>Synthetic data.</b>" not in real
    assert "patients unknown. A patient" not in words_of(real)


def test_the_figure_stands_in_the_text_with_its_words(text, folder):
    svg = text[text.index("<svg") : text.index("</svg>")]
    assert "us: federated</text>" in svg
    assert "Matplotlib" not in svg
    assert (folder.figures / "answer.svg").read_text().count("<text") == svg.count("<text")


def test_a_hospital_has_its_verdict_its_patients_and_what_is_its_own(text, config, folder, tmp_path):
    cards = re.findall(r'<article class="card.*?</article>', text, re.DOTALL)
    assert [re.search(r"<h3>(\w+)", card)[1] for card in cards] == list(SITES)
    verdicts = [re.search(r'class="verdict">(.*?)<', card)[1] for card in cards]
    assert set(verdicts) <= {"gains", "not harmed", "harmed", "cannot be told", "stays alone"}
    assert "Its data are like the others'" in words_of(cards[0])
    other = linked(folder, tmp_path / "unlike", config)
    (other.root / "sites").unlink()
    shutil.copytree(folder.sites, other.sites)
    card = read_json(other.sites / "us" / "card.json")
    card["splits"]["train"] |= {"prevalence": 0.9, "intensity_mean": 200.0, "images": 240, "aetiologies": {"none": 24}}
    write_json(other.sites / "us" / "card.json", card)
    registry = read_table(other.registry)
    write_table(
        other.registry, registry.assign(trouble=["labels at us" if site == "us" else "" for site in registry["site"]])
    )
    unlike = page(config, other, "")
    check_numbers(unlike, other)
    us, asia = (words_of(card) for card in re.findall(r'<article class="card.*?</article>', unlike, re.DOTALL))
    assert "Its share of pneumonia is higher than the others' (0.9 in training)." in us
    assert "Its images are brighter than the others' (mean grey 200 in training)." in us
    assert "It has more images than the others." in us
    assert "It has no viral pneumonia to train on, and others do." in us
    assert "Its data were made wrong on purpose: labels at us." in us
    assert "It has fewer images than the others." in asia
    card["splits"]["train"] |= {"aetiologies": {"none": 12, "unknown": 12}}
    write_json(other.sites / "us" / "card.json", card)
    us = words_of(re.search(r'<article class="card.*?</article>', page(config, other, ""), re.DOTALL)[0])
    assert "Which kinds of pneumonia it has is not known; of the others it is." in us
    assert "pneumonia to train on" not in us
    assert "wrong on purpose" not in asia
    for site in SITES:
        card = read_json(folder.sites / site / "card.json")
        card["splits"]["train"]["aetiologies"] = {"none": 12, "unknown": 12}
        write_json(other.sites / site / "card.json", card)
    write_table(other.registry, registry)
    assert "like the others' in number, share of pneumonia and brightness." in words_of(page(config, other, ""))
    lone = page(config | {"sites": ["us"]}, other, "")
    assert "Its data are like" not in words_of(lone)


def test_what_privacy_was_spent_is_said_with_its_record(text, config, folder, tmp_path):
    assert "None was bought" in text
    assert "simulation of what" not in text
    private = linked(folder, tmp_path / "private", config)
    (private.root / "runs").unlink()
    shutil.copytree(folder.runs, private.runs)
    bound = {"dp": "sites", "epsilon": 2.345, "delta": 1e-5, "unit": "patient", "sigma": 1.5, "rate": 0.1, "steps": 30}
    bound |= {"clip": 0.1, "patients": 40, "colluders": 0, "accountant": "upper bound", "simulation": True}
    path = read_table(private.points)["path"][0]
    write_json(private.run(path).record, private.run(path).read_record() | {"privacy": bound})
    spent = page(config, private, "")
    check_numbers(spent, private)
    assert "a simulation of what privacy costs" in " ".join(spent.split())
    section = words_of(re.search(r'<section id="spent">.*?</section>', spent, re.DOTALL)[0])
    assert re.search(r"federated\s*2\.35\s*1e-05\s*patient", section) or re.search(
        r"federated2\.35?1e-05patient", section
    )


def test_attacks_are_told_with_their_values(config, folder, tmp_path):
    row = {
        "attack": "membership by loss",
        "target": "federated",
        "statistic": "AUC",
        "value": 0.51,
        "low": 0.47,
        "high": 0.55,
    }
    audited = config | {"privacy": config["privacy"] | {"audit": True}}
    other = linked(folder, tmp_path / "audited", audited)
    row |= {"power": 0.9, "claimed": float("nan"), "sentence": "Nothing."}
    write_table(other.audit, pd.DataFrame([row]))
    told = page(audited, other, "")
    check_numbers(told, other)
    assert "No attack was tried" not in re.search(r'<section id="spent">.*?</section>', told, re.DOTALL)[0]


@pytest.fixture
def remote(config, folder, tmp_path):
    """A federation whose data stay at the hospitals: metrics at each, and no tables of differences."""
    config = config | {"federation": config["federation"] | {"where": "remote", "admin_kit": "kit"}}
    chosen = read_table(folder.chosen)
    chosen = chosen[chosen["mode"] != "central"]
    there = Folder(tmp_path / "remote")
    write_json(there.config, config)
    write_table(there.points, chosen.drop(columns="threshold"))
    write_table(there.chosen, chosen)
    rows = [run.to_dict() | {"test_set": site, "auroc": 0.7} for _, run in chosen.iterrows() for site in SITES]
    write_table(there.at_sites, pd.DataFrame(rows))
    (there.root / "runs").symlink_to(folder.runs)
    there.registry.parent.mkdir()
    write_table(there.registry, read_table(folder.registry).drop(columns="cohort"))
    return config, there


def test_a_federation_elsewhere_has_a_page_without_verdicts(remote):
    config, folder = remote
    text = page(config, folder, "")
    check_numbers(text, folder)
    assert tuple(re.findall(r'<details class="part" id="(\w+)"', text))[1 : 1 + len(REMOTE_PARTS)] == REMOTE_PARTS
    seen = words_of(text)
    assert "0.700 at us, 0.700 at asia" in seen
    assert "it cannot be told who is to join" in seen
    assert re.findall(r'class="verdict">(.*?)<', text) == ["cannot be told"] * len(SITES)
    assert "every image: here all hospitals are on one machine" not in seen
    for said in ("brackets", "The margin", "the intervals", "too few test patients", "dataset.source", "split.seed"):
        assert said not in seen
    for topic in ("explainability", "failure analysis"):  # by figures of single patients
        assert f"{topic} for the author" in " ".join(words_of(text.replace("</td>", " ")).split())
    assert not re.search(r"\d", "".join(Reader(text).visible))


def test_a_figure_that_was_not_drawn_is_left_out(config, folder, tmp_path):
    bare = linked(folder, tmp_path / "bare", config)
    (bare.root / "figures").unlink()
    assert "<figure>" not in page(config, bare, "")


def test_how_to_repeat_it_has_the_command_and_checksums(text, folder):
    section = words_of(re.search(r'<section id="repeat">.*?</section>', text, re.DOTALL)[0])
    assert "snakemake --cores all --configfile repeat.yaml" in section
    assert "abacus" in section  # the processor of the records
    assert re.search(r"config\.json\s*[0-9a-f]{64}", section)


def test_a_model_that_was_given_and_noise_that_no_seed_draws_are_told(text, config, folder, tmp_path):
    given = "Every run begins with a model that is given"
    assert given not in words_of(text)
    assert "Initial parameters, batches and augmentation are drawn from them, and splits from split.seed," in words_of(
        text
    )
    for initial, unknown in (("models/1", True), ("torchvision:ResNet18_Weights.DEFAULT", False)):
        told = words_of(page(config | {"model": config["model"] | {"initial": initial}}, folder, ""))
        assert (given in told) == unknown
        assert f"the runs begin with the model {initial}, which has to be there" in told
        assert f"Every run began with the weights of {initial}, but" in told
    other = linked(folder, tmp_path / "secret", config)
    (other.root / "runs").unlink()
    shutil.copytree(folder.runs, other.runs)
    path = other.run(read_table(other.points)["path"].iloc[0]).record
    secret = {"dp": "sites", "epsilon": 3.0, "delta": 1e-5, "sigma": 1.0, "rate": 0.1, "steps": 9, "patients": 40}
    secret |= {"clip": 0.1, "colluders": 0, "unit": "patient", "accountant": "one", "simulation": False}
    same = "each file below has the same checksum again"
    assert same in words_of(text)
    write_json(path, read_json(path) | {"privacy": secret})
    told = words_of(page(config, other, ""))
    assert "models are not the same again" in told
    assert same not in told


def test_what_repeats_it_is_the_configuration_without_the_defaults(text, config):
    own = yaml.safe_load(html.unescape(re.search(r"'END'\n(.*?\n)END\n", html.unescape(text), re.DOTALL)[1]))
    assert set(own) == {"experiment", "sites", "seeds", "image_size"}
    defaults = yaml.safe_load((CAPTIONS.parent / "config" / "config.yaml").read_text())
    update_config(defaults, own)
    assert defaults == config


def test_the_checklists_say_what_is_answered_where_and_what_is_for_the_author(text):
    for checklist, count in ((checklists.TRIPOD, 52), (checklists.CLAIM, 44)):
        numbers = [item.number for item in checklist.items]
        assert len(set(numbers)) == len(numbers) == count
        assert {item.where for item in checklist.items} <= {
            *("", "question", "hospitals", "limits", "repeat", "figures", "data", "external", *PARTS)
        }
        part = text[text.index(f">\n<summary>{checklist.name}: ") :]
        part = part[: part.index("</details>")]
        assert part.count("for the author</td>") + part.count('<a\nhref="#') == count
        assert str(part.count('<a\nhref="#')) == re.search(r": (\d+) of", part)[1]
        assert "doi:" in part
    assert not re.search(r"test on external data</td><td><a", text)  # there is none


def test_what_data_sets_say_of_their_limits_is_on_the_page(config, folder, tmp_path):
    section = config["dataset"] | {"source": "kermany", "archive": str(tmp_path)}
    seen = words_of(page(config | {"dataset": section}, folder, ""))
    limits = seen[seen.index("What it does not show") : seen.index("How to repeat it")]
    assert all(limit in limits for limit in datasets.get("kermany").limits)


@pytest.mark.parametrize(("holds", "said"), [("true", "Yes: each rule"), ("false", "No: the gate holds only if each")])
def test_the_gate_is_told_with_its_bounds_and_says_no_if_one_rule_does_not_hold(config, folder, tmp_path, holds, said):
    other = linked(folder, tmp_path / "gated", config)
    section = told_of_a_gate(config, other, holds)
    assert said in section
    assert re.search(r"us ?of these, wave 1 ?-0\.200.\[-0\.300, -0\.100\] ?not judged", section)
    assert re.search(r"us ?of these, wave 2 ?not judged", section)
    assert re.search(r"Nothing is known of <us-2>\. ?not judged", section)
    assert "A wave without a value lacks a class." in section
    assert "compared both models" not in section
    assert 'id="gate"' not in page(config, other, "")


def told_of_a_gate(config, folder, holds):
    """What the page says of a gate, of which one rule `holds` or not."""
    gated = config | {"promotion": config["promotion"] | {"predecessor": "models/1"}}
    rows = [
        ("us", "AUROC minus predecessor's", 0.01, -0.012, 0.03, -0.02, "true", "Good."),
        ("us", "calibration error", 0.08, 0.05, 0.11, 0.1, holds, "Fair."),
        ("us", "AUROC minus predecessor's, wave 1", -0.2, -0.3, -0.1, None, "", "Forgotten."),
        ("us", "AUROC minus predecessor's, wave 2", None, None, None, None, "", "Few."),
        ("", "predecessor", None, None, None, None, "", "Nothing is known of <us-2>."),
    ]
    columns = ["hospital", "what", "value", "low", "high", "bound", "holds", "sentence"]
    write_table(folder.gate, pd.DataFrame(rows, columns=columns))
    told = page(gated, folder, "")
    check_numbers(told, folder)
    assert not re.search(r"\d", "".join(Reader(told).visible))
    assert "The numbers in brackets are an interval" in words_of(told)
    return words_of(re.search(r'<section id="gate">.*?</section>', told, re.DOTALL)[0])


def test_of_a_gate_elsewhere_the_page_says_what_left_the_hospitals(remote):
    section = told_of_a_gate(*remote, "true")
    assert "Yes: each rule of the gate holds." in section
    assert "A wave without a value lacks a class, or has too few patients for the number to leave its" in section
    assert "Each hospital compared both models on its own test patients, and sent the numbers of its rows" in section


def test_strategies_for_a_second_wave_are_told_with_the_rows_that_they_are_from(config, folder, tmp_path):
    other = linked(folder, tmp_path / "updated", config)
    rows = [
        {"cohort": "", "question": question, "mode": "federated", "method": "", "site": "pooled", "strategy": strategy}
        | {"test_set": "pooled", "metric": metric, "estimate": value, "low": value - 0.01, "high": value + 0.01}
        for strategy, shift in (("all", 0.0), ("new", 0.02))
        for question, sign in (("new", 1), ("old", -1))
        for metric, value in (("brier", 0.5), ("auroc", sign * (0.03 + shift)), ("calibration_error", 0.004 - shift))
    ]
    write_table(other.updates, pd.DataFrame(rows))
    told = Page(config, other, "")
    assert list(told._updates()) == []
    grid = config["sweep"] | {"grid": {"update.strategy": ["keep", "all", "new"]}}
    told.experiment = Experiment.from_config(config | {"sweep": grid})
    assert "updates" in told._standing()
    found = list(told._updates())
    assert [(row["strategy"], row["model"], row["patients of"]) for row in found] == [
        ("all", "federated", "all"),
        ("new", "federated", "all"),
    ]
    text = [words_of(str(row["AUROC, old"])) for row in found]
    assert text == ["-0.030 [-0.040, -0.020]", "-0.050 [-0.060, -0.040]"]
    assert words_of(str(found[1]["calibration, new"])) == "-0.016"
    for title in re.findall(r'title="([^"]+)"', "".join(str(cell) for row in found for cell in row.values())):
        assert TITLE.match(html.unescape(title))["file"] == "updates.csv"


def test_numbers_that_are_all_missing_are_told_as_undefined_and_not_as_nan(config, folder, tmp_path):
    """Of a tiny test set, in which no metric is defined."""
    other = linked(folder, tmp_path / "tiny", config | {"privacy": config["privacy"] | {"audit": True}})
    grid = {"grid": {"update.strategy": ["keep", "all"]}, "points": [], "exclude": []}
    config = read_json(other.config) | {"promotion": config["promotion"] | {"predecessor": "models/1"}}
    known = {"lr", "epochs", "round", "seed", "rounds", "images", "patients", "parameters", "bytes_sent", "seconds"}
    for path in (other.summary, other.differences, other.methods, other.comparison, other.own_thresholds):
        table = read_table(path)
        numbers = [name for name in table.select_dtypes("number") if name not in known]
        path.unlink()
        write_table(path, table.assign(**dict.fromkeys(numbers), noninferior=""))
    row = {"cohort": "", "mode": "federated", "method": "", "site": "pooled", "strategy": "all", "test_set": "pooled"}
    missing = dict.fromkeys(["estimate", "low", "high", "p_adjusted", "value", "kept", "bound", "power", "claimed"])
    of_updates = [
        row | {"question": question, "metric": metric} | missing
        for question in ("new", "old")
        for metric in ("auroc", "calibration_error")
    ]
    write_table(other.updates, pd.DataFrame(of_updates))
    attacks = [{"attack": name, "target": "us", "statistic": "AUROC"} for name in ("canaries", "inversion")]
    write_table(other.audit, pd.DataFrame(attacks).assign(sentence="None.", **missing))
    write_table(other.gate, pd.DataFrame([{"hospital": "us", "what": "AUROC", "holds": "", "sentence": ""} | missing]))
    brought = [{"cohort": "", "hospital": "us", "test_set": "pooled", "what": "shapley"} | missing]
    write_table(other.contributions, pd.DataFrame(brought))
    told = words_of(page(config, other, NOTE))
    assert "the federated model has an AUROC of (undefined)" in told
    assert "the AUROC changes by (undefined) against" in told
    assert not re.search(r"\bnan\b", told, re.IGNORECASE)
    updated = Page(config, other, "")
    updated.experiment = Experiment.from_config(config | {"sweep": grid})
    (row,) = updated._updates()
    assert {words_of(str(row[f"{what}, {of}"])) for what in ("AUROC", "calibration") for of in ("new", "old")} == {
        "(undefined)"
    }
    said = [
        plain(part)
        for _, *both in answers(updated.methods_table, 0.02, 0.95, read_table(other.updates))
        for part in both
    ]
    assert "(undefined) on new patients and (undefined) on old ones" in said[0].replace("\u00a0", " ")
    methods, summary = read_table(other.methods), read_table(other.summary)
    figures = {
        "answer": of_answer.answer(methods, 0.02),
        "method_gain": of_methods.method_gain(methods, 0.02),
        "contributions": of_methods.contributions(read_table(other.contributions)),
        "updates": of_strategies.updates(read_table(other.updates)),
        "metrics": of_results.metric_intervals(summary),
        "gain": of_results.gain(summary),
        "differences": of_results.differences(read_table(other.differences), 0.02),
        "cross_site": of_results.cross_site(summary),
        "roc": of_results.roc_curves(read_table(other.chosen), read_table(other.predictions), summary, *DRAW),
    }
    for name, figure in figures.items():
        save(figure, dict.fromkeys(["svg"], tmp_path / f"{name}.svg").items(), NOTE)
        words = re.findall(r"<!--(.*?)-->|>([^<]+)</text>", (tmp_path / f"{name}.svg").read_text())
        assert not [each for each in words if re.search(r"\bnan\b", "".join(each))], name
