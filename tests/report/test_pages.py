import html
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from fedxray.core.files import read_json, read_table, write_json, write_table
from fedxray.data import datasets
from fedxray.data.site import SiteFolder
from fedxray.experiment.folder import Folder
from fedxray.report.contents import PARTS, REMOTE_PARTS
from fedxray.report.pages import Results, Runs, _cell, _short, flat, render


@pytest.fixture(scope="module")
def rendered(config, results):
    return render(config, results, "Synthetic phantom data")


def text_of(page):
    """What a reader sees of a part."""
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)))


def test_each_part_is_folded_has_a_place_to_link_to_and_needs_no_network(rendered):
    assert tuple(rendered) == PARTS
    for name, part in rendered.items():
        assert part.startswith(f'<details class="part" id="{name}">\n<summary>'), name
        assert "://" not in part, name


def test_conclusions_say_the_sentences_the_choice_and_the_agreement(rendered, results):
    text = text_of(rendered["conclusions"])
    differences = read_table(results.differences)
    for sentence in differences["sentence"][differences["metric"] == "auroc"]:
        assert sentence in text
    assert "Each model has 1 point." in text
    assert "The hospitals also computed 36 metrics" in text
    assert "to the last digit." in text  # all were trained on a CPU
    assert "Means over 2 seeds" in text
    assert "computed in one process" not in text


def test_runs_of_one_process_say_how_many_a_federation_confirmed(config, results, tmp_path):
    for path in results.root.iterdir():
        (tmp_path / path.name).symlink_to(path)
    write_table(Folder(tmp_path).confirmed, pd.DataFrame({"path": ["0", "1"]}))
    one_process = config | {"federation": config["federation"] | {"engine": "inprocess"}}
    pages = render(one_process, Folder(tmp_path), "")
    said = "Of the chosen federated runs those of the method that leads, 2, were repeated by"
    assert all(said in text_of(pages[name]) for name in ("conclusions", "methods"))


def test_the_datasheet_has_a_row_for_each_site_and_split_and_validation_once(config, results):
    told = Results(config, results).datasheet()
    assert [(row["hospital"], row["split"]) for row in told["splits"]] == [
        *(("us", "train"), ("us", "test"), ("asia", "train"), ("asia", "test")),
        ("shared", "validation"),
    ]
    assert told["splits"][0]["normal"] == told["splits"][0]["virus"] == 12
    assert told["heterogeneity"][0]["largest / smallest hospital"] == "1.50"
    assert "standardised to mean 0 and deviation 1, and augmented." in text_of(render(config, results, "")["datasheet"])
    training = config["training"] | {"augmentation": dict.fromkeys(config["training"]["augmentation"], 0)}
    other = config | {"model": config["model"] | {"standardise": "imagenet"}, "training": training}
    assert "by the mean and deviation of ImageNet." in text_of(render(other, results, "")["datasheet"])


@pytest.fixture
def several(config, results, tmp_path):
    """Two sources, each of a hospital, and an external test: the configuration, and a folder with their summaries."""
    entries = {}
    for name, key in (("kermany", "archive"), ("nih", "archive"), ("folder", "folder")):
        (tmp_path / f"{name}.zip").touch()
        entries[name] = {name: {key: str(tmp_path / f"{name}.zip")}}
    sources = [entries["folder"] | {"site": "asia"}, entries["nih"] | {"site": "us"}]
    folder = Folder(tmp_path / "made-up")
    for path in results.root.iterdir():
        if path.name != "data":
            folder.root.mkdir(exist_ok=True)
            (folder.root / path.name).symlink_to(path)
    data = read_json(results.root / "data" / "catalogue.json")
    for name, images in (("data/asia", 101), ("data/us", 202), ("external/kermany", 303)):
        write_json(folder.root / name / "catalogue.json", data | {"images": images, "patients": images - 1})
    fetched = {"dataset": "a-competition", "version": None, "bytes": 9, "sha256": "f" * 64}
    write_json(folder.root / "external/kermany/images.json", fetched)
    facts = {"images": 303, "patients": 302, "prevalence": 0.5}
    card = {"splits": {"test": facts}, "provenance": {"patients_known": True}}
    write_json(SiteFolder(folder.external("kermany").site).card, card)
    for path in (folder.summary, folder.comparison, folder.differences):
        table = read_table(path)
        path.unlink()
        write_table(path, pd.concat([table, table[table["test_set"] == "us"].assign(test_set="kermany")]))
    section = config["dataset"] | {"sources": sources, "external": [entries["kermany"]]}
    return config | {"dataset": section, "split": config["split"] | {"partition": "acquisition"}}, folder


def test_pages_of_one_data_set_say_what_it_says_of_itself(config, results, tmp_path):
    section = config["dataset"] | {"source": "kermany", "archive": str(tmp_path)}
    pages = render(config | {"dataset": section}, results, "")
    kermany = datasets.get("kermany")
    sheet = text_of(pages["datasheet"])
    for sentence in (kermany.about, kermany.licence, kermany.citation, kermany.handle, *kermany.limits, str(tmp_path)):
        assert sentence in sheet
    assert "<h3>" not in pages["datasheet"]
    methods = (
        f"{kermany.title}: 48 images of 48 patients, of 50 files; left out: 2 (hidden). Patients come from: column"
    )
    assert methods in text_of(pages["methods"])
    apart = "no patient is in two sets or at two hospitals"
    assert apart in text_of(pages["methods"])
    assert apart not in text_of(render(config, results, "patients unknown. A patient may be in two sets")["methods"])
    assert kermany.model_limits[0] in text_of(pages["model_card"])
    assert "phantom" not in sheet + text_of(pages["model_card"])


def test_pages_of_several_data_sets_say_what_each_says_of_itself(several):
    pages = render(*several, "")
    sheet, methods, card = (text_of(pages[name]) for name in ("datasheet", "methods", "model_card"))
    for name in ("folder", "nih", "kermany"):
        dataset = datasets.get(name)
        for sentence in (dataset.about, dataset.licence, dataset.citation, *dataset.limits, f"{name}.zip"):
            assert sentence in sheet
        assert all(
            (limit in card) == (name != "kermany") for limit in dataset.model_limits
        )  # no model was trained on kermany
    assert "belong to the hospital asia" in sheet
    assert sheet.count("They are an external test") == 1
    assert re.findall(r"(?<=images )101 202 303", sheet)
    assert "(the hospital asia): 101 images of 100 patients" in methods
    assert "(the hospital us): 202 images of 201 patients" in methods
    assert "(external test): 303 images of 302 patients" in methods
    assert methods.count("the archive has SHA-256 " + "f" * 64) == 1  # Kaggle says no version of a competition
    assert f"{datasets.get('folder').title}; {datasets.get('nih').title}: 48 training images" in card


def test_what_two_sources_of_one_data_set_share_is_said_once(several, tmp_path):
    config, folder = several
    entry = {"nih": {"archive": str(tmp_path / "nih.zip")}}
    section = config["dataset"] | {"sources": [entry | {"site": "asia"}, entry | {"site": "us"}], "external": []}
    pages = render(config | {"dataset": section}, folder, "")
    assert text_of(pages["datasheet"]).count(datasets.get("nih").limits[0]) == 1
    assert text_of(pages["model_card"]).count(datasets.get("nih").title) == 1


def test_methods_say_who_trained_at_what_cost(config, results):
    told = Results(config, results).methods()
    assert {row["mode"]: (row["trained by"], row["runs"]) for row in told["budgets"]} == {
        "federated": ("NVIDIA FLARE", 2),
        "central": ("one process", 2),
        "alone": ("one process", 4),
    }
    costs = [(row["model"], row["runs"], row["Wh"], row["by"]) for row in told["costs"]]  # of 100 Wh each
    assert costs == [
        *(("federated", "2", "200.00", "counters"), ("central", "2", "200.00", "counters")),
        ("each hospital alone", "4", "400.00", "counters"),
    ]
    assert "whatever else it did" in told["energy"]
    assert {row["what"]: row["value"] for row in told["machine"]}["processor"] == "abacus"


def test_methods_say_the_budgets_of_the_chosen_models_and_not_the_one_that_a_sweep_replaced(config, results, tmp_path):
    for path in results.root.iterdir():
        (tmp_path / path.name).symlink_to(path)
    folder, points = Folder(tmp_path), read_table(results.points)
    folder.points.unlink()
    for epochs, said in (
        ([7] * len(points), "of 7 epochs counts passes over a model's own data, equally many for all."),
        (
            np.where(points["mode"] == "central", 30, 20),
            "of 20 or 30 epochs of the chosen models counts passes over a model's own data.",
        ),
    ):
        write_table(folder.points, points.assign(epochs=epochs))
        assert f"The budget {said}" in text_of(render(config, folder, "")["methods"])


def test_the_model_card_has_the_exported_models_threshold_and_metrics(config, results, rendered):
    assert "synthetic phantom radiographs: 48 training images" in text_of(rendered["model_card"])
    told = Results(config, results).model_card()
    about = {row["what"]: row["value"] for row in told["about"]}
    assert about["threshold"] == read_table(results.chosen)["threshold"][0]
    assert [row["test set"] for row in told["by_site"]] == ["pooled", "us", "asia"]
    auroc = read_table(results.comparison)["auroc"][0]  # the exported run's, on the pooled test set
    assert told["by_site"][0]["AUROC"].startswith(f"{auroc:.3f}\u00a0[")
    assert [row["aetiology"] for row in told["by_aetiology"]] == ["bacteria", "normal", "virus"]
    assert read_json(results.model / "config.json")["run"] == "run-0"


def test_the_configuration_and_the_packages_are_listed(rendered, config):
    assert "federation.where here" in text_of(rendered["configuration"])
    assert len(flat(config)) == rendered["configuration"].count("<tr><td>")
    assert f"numpy {np.__version__}" in text_of(rendered["environment"])


def test_values_as_cells():
    assert flat(
        {"a": {"b": 1, "": []}, "d": {}, "e": [1, 2], "f": "", "g": None, "h": [{"i": {"j": True}}, False]}
    ) == [
        *(("a.b", 1), ("a.not stated", "none")),
        *(("d", "none"), ("e", "1, 2"), ("f", "none"), ("g", "none"), ("h", "{i: {j: true}}, false")),
    ]
    assert flat({"a": True}) == [("a", "true")]
    assert _cell(-0.0047, -0.0092, -0.0003) == "-0.005\u00a0[-0.009,\u00a00.000]"
    assert _cell(0.91234, 0.9, 0.95) == "0.912\u00a0[0.900,\u00a00.950]"
    assert _cell(0.91234, np.nan, np.nan) == "0.912"
    assert _cell(np.nan, np.nan, np.nan) == "-"
    assert [_short(value) for value in (np.nan, 0.0030, 4, "sgd")] == ["", "0.003", "4", "sgd"]


def test_the_privacy_page_says_what_attacks_found_if_there_were_any(config, results, rendered, tmp_path):
    assert "No attack was tried" in text_of(rendered["privacy"])
    for path in results.root.iterdir():
        (tmp_path / path.name).symlink_to(path)
    row = {"attack": "membership by loss", "target": "federated", "statistic": "AUC", "value": 0.51, "low": 0.47}
    row |= {"high": 0.55, "power": 0.9, "claimed": np.nan, "sentence": "The attack finds nothing."}
    one = {"low": np.nan, "high": np.nan}
    rows = [row, row | one | {"statistic": "true positives", "value": 0.014, "power": 0.5}]
    canaries = row | one | {"attack": "canaries", "statistic": "epsilon at least", "sentence": "It proves something."}
    rows += [canaries | {"value": 0.7, "claimed": 3.0}, canaries | {"value": 1.8, "target": "another"}]
    write_table(Folder(tmp_path).audit, pd.DataFrame(rows))
    audited = config | {"privacy": config["privacy"] | {"audit": True}}
    text = text_of(render(audited, Folder(tmp_path), "")["privacy"])
    assert "target AUC where it must find something true positives federated 0.510 [0.470, 0.550] 0.900 0.014" in text
    assert "federated 0.700 3 0.900 It proves something." in text
    assert "another 1.800 nothing 0.900 It proves something." in text


def test_who_sees_what_follows_the_configuration(config, results, rendered):
    plain = text_of(rendered["privacy"])
    assert "each hospital's answer (its model)" in plain
    assert "There is no bound" in plain
    assert "Nothing bounds what the model may reveal" in text_of(rendered["model_card"])
    secure = config | {"privacy": config["privacy"] | {"secure_aggregation": True}}
    text = text_of(render(secure, results, "")["privacy"])
    assert "the sum of the hospitals' answers" in text
    assert "each hospital's answer (its model)" not in text
    bounded = "of an image in training at most what ε allows, from all rounds together"
    for noise, place, said in (("secret", "sites", True), ("seeded", "sites", False), ("secret", "sum", False)):
        private = config | {"privacy": secure["privacy"] | {"dp": place, "noise": noise}}
        learns = [
            str(row["may learn of other hospitals' patients"]) for row in Runs(private, results).privacy()["seen"]
        ]
        assert (bounded in learns) == said


def test_the_privacy_page_of_a_remote_federation_says_what_leaves_a_hospital_and_who_the_partners_were(
    config, results, tmp_path
):
    """It has no other page, and of the results only what such a federation leaves."""
    shutil.copytree(results.root / "runs", tmp_path / "runs")
    shutil.copyfile(results.points, Folder(tmp_path).points)
    remote = config | {"federation": config["federation"] | {"where": "remote", "admin_kit": "kit"}}
    plain = render(remote, Folder(tmp_path), "")
    assert tuple(plain) == REMOTE_PARTS
    assert "every image" not in plain["privacy"]
    assert "the model, losses and AUROC of each hospital alone" in text_of(plain["privacy"])
    assert "SHA-256" not in plain["privacy"]
    for path in read_table(results.points)["path"]:
        run = Folder(tmp_path).run(path)
        write_json(run.record, run.read_record() | {"partners": {"us": "ab" * 32, "asia": "cd" * 32}})
    secure = remote | {"privacy": config["privacy"] | {"secure_aggregation": True}}
    text = text_of(render(secure, Folder(tmp_path), "")["privacy"])
    assert "the model, losses" not in text
    assert "the losses and AUROC of each hospital alone" in text
    assert f"asia {'cd' * 32} us {'ab' * 32}" in text
    assert "the numbers of its gate" not in text
    gated = remote | {"promotion": config["promotion"] | {"predecessor": "models/1"}}
    assert "the numbers of its gate, on its own test set" in text_of(render(gated, Folder(tmp_path), "")["privacy"])


def test_what_private_runs_spent_is_a_row_for_each_model_and_their_sum(config, results, tmp_path):
    folder = Folder(tmp_path)
    for path in results.root.iterdir():
        if path.name != "runs":
            (tmp_path / path.name).symlink_to(path)
    shutil.copytree(results.root / "runs", tmp_path / "runs")
    points = read_table(folder.points)
    bound = {"dp": "sites", "epsilon": 2.0, "delta": 1e-5, "unit": "patient", "sigma": 1.5, "rate": 0.1, "steps": 30}
    bound |= {"clip": 0.1, "patients": 40, "colluders": 0, "accountant": "upper bound", "simulation": True}
    for path in points["path"]:
        run = folder.run(path)
        write_json(run.record, run.read_record() | {"privacy": bound})
    made = render(config, folder, "")
    text = text_of(made["privacy"])
    assert "epsilon 2 at delta 1e-05" in text_of(made["model_card"])
    shared = int((points["site"] == "pooled").sum())
    alone = int(points["site"].value_counts().drop("pooled").max())
    assert f"spend at most ε {2 * (shared + alone):.3g} on a patient, at δ {1e-5 * (shared + alone):.3g}" in text
    assert "This is a simulation" in text
    assert "in each hospital's steps patient 2 1e-05 1.5 0.1000 30 40" in text
    assert "fedxray-site budget" not in text
    first = folder.run(points["path"][0])
    write_json(first.record, first.read_record() | {"privacy": bound | {"steps": 60}})
    told = [(row["model"], row["steps"], row["runs"]) for row in Results(config, folder).privacy()["spent"]]
    assert told[:3] == [("federated", 60, 1), ("federated", 30, 1), ("central", 30, 2)]
    for path in points["path"]:
        run = folder.run(path)
        of_sum = bound | {"dp": "sum", "colluders": 1, "simulation": False}
        write_json(run.record, run.read_record() | {"privacy": of_sum})
    remote = config | {"federation": config["federation"] | {"where": "remote", "admin_kit": "kit"}}
    text = text_of(render(remote, folder, "")["privacy"])
    assert "in the sum of all hospitals, of which 1 may collude patient 2" in text
    assert "This is a simulation" not in text
    assert "left of its budget, is known at the hospital alone: fedxray-site budget" in text
