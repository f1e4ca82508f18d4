import pandas as pd
import pytest
from helpers.data import make_sites

from fedxray import __version__
from fedxray.core.errors import UserError
from fedxray.core.files import read_json, read_table, sha256, write_table
from fedxray.data.registry import (
    COLUMNS,
    note_of,
    own_validation,
    read_checksums,
    tabulate,
    tabulate_cohorts,
    train_images,
    write_registry,
)


def card_of(folder):
    return read_json(folder / "card.json")


@pytest.fixture
def cards(site_folders):
    """Each participant's data card: those of the sites, and the server's of the shared validation set."""
    folders = {**site_folders, "shared": site_folders["us"].parent / "shared"}
    return {name: card_of(folder) for name, folder in folders.items()}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "registry.csv"


def test_the_registry_has_a_row_for_each_card_and_survives_its_file(site_folders, path):
    registry = tabulate(card_of(folder) for folder in site_folders.values())
    assert list(registry["site"]) == ["asia", "europe", "us"]
    assert list(registry.loc[0, ["train_images", "validation_patients", "test_images", "images"]]) == [24, 24, 24, 72]
    assert set(registry["prevalence"]) == {0.5}
    write_table(path, registry)
    rows = read_table(path).set_index("site")
    for site, folder in site_folders.items():
        assert rows.at[site, "sha256_images"] == sha256(folder / "images.npy")
        assert rows.at[site, "sha256_table"] == sha256(folder / "images.csv")
    assert note_of(path) == ""
    us = card_of(site_folders["us"])
    with pytest.raises(UserError, match="us has two cards"):
        tabulate([us, us])
    with pytest.raises(UserError, match="schema None"):
        tabulate([{"site": "us"}])


def test_the_bytes_of_a_registry(path):
    """Training depends on this file: a version that writes other bytes for the same data reruns everything."""
    part = {"images": 3, "patients": 2, "prevalence": 0.6667}
    card = {"schema": 2, "site": "us", "image_size": 16, "images": 9, "patients": 6}
    card |= {"sha256": {"images": "a", "table": "b"}, "splits": dict.fromkeys(("train", "validation", "test"), part)}
    origin = {"source_sha256": "c", "synthetic": True, "patients_known": False, "fit": "pad", "split": {"seed": 1}}
    card |= {"provenance": origin | {"fedxray": __version__}}
    row = f'us,2,16,pad,9,6,3,2,3,2,3,2,0.6667,a,b,c,"{{""seed"": 1}}",True,False,,{__version__}'
    write_table(path, tabulate([card]))
    assert path.read_text() == f"{','.join(COLUMNS)}\n{row}\n"
    write_table(path, tabulate_cohorts({"": [card], "partition=iid": [card]}))
    assert path.read_text() == f"{','.join(COLUMNS)},cohort\n{row},\n{row},partition=iid\n"


def test_one_synthetic_data_set_makes_all_of_an_experiment_called_so(cards, path):
    cards["europe"] = cards["europe"] | {"provenance": cards["europe"]["provenance"] | {"synthetic": True}}
    write_table(path, tabulate(cards.values()))
    assert note_of(path) == "Synthetic phantom data"


def test_one_data_set_whose_patients_nobody_knows_makes_the_note_of_all(cards, path):
    unknown = {"provenance": cards["asia"]["provenance"] | {"patients_known": False}}
    write_table(path, tabulate((cards | {"asia": cards["asia"] | unknown}).values()))
    assert note_of(path) == "patients unknown: each image counts as one"
    both = {"provenance": unknown["provenance"] | {"synthetic": True}}
    write_table(path, tabulate((cards | {"asia": cards["asia"] | both}).values()))
    assert note_of(path) == "Synthetic phantom data; patients unknown: each image counts as one"


def test_trouble_on_purpose_is_in_the_note_of_all(cards, path):
    def spoiled(name, kind):
        provenance = cards[name]["provenance"] | {"trouble": {"kind": kind, "site": "asia", "share": 0.4}}
        return cards[name] | {"provenance": provenance}

    write_table(path, tabulate((cards | {"asia": spoiled("asia", "labels")}).values()))
    assert list(read_table(path)["trouble"]) == ["labels at asia", "", "", ""]
    assert note_of(path) == "trouble on purpose: labels at asia"
    cohorts = {"trouble=none": cards, "trouble=labels": cards | {"asia": spoiled("asia", "labels")}}
    cohorts["trouble=clipped"] = {name: spoiled(name, "clipped") for name in cards}
    write_table(path, tabulate_cohorts({name: of.values() for name, of in cohorts.items()}))
    unknown = {"provenance": {"synthetic": True, "patients_known": True}}
    said = "Synthetic phantom data; trouble on purpose: labels at asia, clipped at asia"
    assert note_of(path, [unknown]) == said


def test_a_hospital_whose_images_were_fitted_in_another_way_is_refused(cards, path):
    def fitted(fit):
        return {name: card | {"provenance": card["provenance"] | {"fit": fit}} for name, card in cards.items()}

    with pytest.raises(UserError, match=r"^us: fit is pad; set fit to that, or make its data again$"):
        write_registry(path, cards | {"us": fitted("pad")["us"]}, 16, "stretch")
    assert not path.exists()
    write_registry(path, fitted("pad"), 16, "pad")
    assert set(read_table(path)["fit"]) == {"pad"}


def test_a_registry_has_counts_and_checksums_and_refuses_what_does_not_fit(cards, path):
    write_registry(path, cards, 16, "stretch")
    assert read_checksums(path, ["us"]) == {name: cards[name]["sha256"] for name in ("us", "shared")}
    with pytest.raises(UserError, match="nowhere is not in the registry"):
        read_checksums(path, ["nowhere"])
    assert own_validation(path) == []
    provenance = cards["us"]["provenance"] | {"split": {"seed": 1, "validation_fraction": 0.1}}
    path.unlink()
    write_registry(path, cards | {"us": cards["us"] | {"provenance": provenance}}, 16, "stretch")
    assert own_validation(path) == ["us"]
    with pytest.raises(UserError, match="images of 16 pixels"):
        write_registry(path, cards, 64, "stretch")
    empty = cards["us"] | {"splits": {"train": {"images": 24, "patients": 24}}}
    with pytest.raises(UserError, match="us: no validation images"):
        write_registry(path, cards | {"us": empty}, 16, "stretch")
    assert len(pd.read_csv(path)) == 4


def test_a_registry_takes_a_further_site_and_no_data_that_changed(cards, path):
    write_registry(path, {name: card for name, card in cards.items() if name != "asia"}, 16, "stretch")
    write_registry(path, cards, 16, "stretch")
    assert "asia" in read_checksums(path)
    before = path.read_bytes()
    changed = cards["us"] | {"sha256": cards["us"]["sha256"] | {"images": "0" * 64}}
    with pytest.raises(UserError, match=r"us: its data are no longer those in .*registry.csv"):
        write_registry(path, cards | {"us": changed}, 16, "stretch")
    assert path.read_bytes() == before


def test_the_registry_of_two_sites_of_the_same_name_in_two_cohorts(tmp_path):
    folders = make_sites(tmp_path)
    cards = [card_of(folder) for folder in folders.values()]
    registry = tabulate_cohorts({"": cards, "alpha=0.1": cards})
    assert list(registry["cohort"]) == [""] * 3 + ["alpha=0.1"] * 3


def test_a_note_may_also_be_of_external_tests(cards, path):
    write_table(path, tabulate(cards.values()))
    known = {"provenance": {"synthetic": False, "patients_known": True}}
    assert note_of(path, [known]) == ""
    further = [known, {"provenance": {"synthetic": False, "patients_known": False}}]
    assert note_of(path, further) == "patients unknown: each image counts as one"
    drawn = {"provenance": {"synthetic": True, "patients_known": True}}
    assert note_of(path, [*further, drawn]) == "Synthetic phantom data; patients unknown: each image counts as one"


def of_waves(card, *counts):
    """The card of a further version of the same data, with so many training images in each wave."""
    waves = {str(n): {"train": {"images": count, "patients": count, "again": 0}} for n, count in enumerate(counts, 1)}
    earlier = [*card["provenance"].get("earlier", []), card["sha256"]]
    sha256 = {key: f"{len(counts)}" * 64 for key in card["sha256"]}
    return card | {"waves": waves, "sha256": sha256, "provenance": card["provenance"] | {"earlier": earlier}}


def test_a_new_wave_is_registered_if_it_is_asked_for_and_else_refused(cards, path, caplog):
    write_registry(path, cards, 16, "stretch")
    before, new = path.read_bytes(), cards | {"us": of_waves(cards["us"], 24, 7)}
    with pytest.raises(
        UserError, match=r"^us: its data have 2 waves of patients, and federation.waves is 1; set it to 2"
    ):
        write_registry(path, new, 16, "stretch")
    assert path.read_bytes() == before
    caplog.set_level("INFO")
    write_registry(path, new, 16, "stretch", waves=2)
    assert caplog.messages == ["us: version 2 of its data takes the place of version 1"]
    assert list(read_table(path)) == [*COLUMNS, "waves", "earlier"]
    assert read_checksums(path, ["us", "asia"]) == {
        "us": new["us"]["sha256"] | {"waves": 2},
        "asia": cards["asia"]["sha256"],
        "shared": cards["shared"]["sha256"],
    }
    assert train_images(path, ["us", "asia"]) == {"us": 24, "asia": 24}
    third = new | {"us": of_waves(new["us"], 24, 7, 5)}
    write_registry(path, third, 16, "stretch", waves=3)
    assert caplog.messages[-1] == "us: version 3 of its data takes the place of version 2"
    for other in (new, cards, cards | {"us": of_waves(cards["asia"] | {"site": "us"}, 24, 7)}):
        with pytest.raises(UserError, match=r"us: its data are no longer those in .*registry.csv"):
            write_registry(path, other, 16, "stretch", waves=3)
