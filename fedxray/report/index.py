"""The report's one page: the answer first, and behind it all that it rests on. A template has the text."""

from collections.abc import Iterator
from functools import cached_property
from importlib.metadata import version

import numpy as np
import pandas as pd
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

import fedxray
from fedxray.analysis import answer, suspects
from fedxray.analysis.answer import Cited, interval, line_of
from fedxray.analysis.choice import MODEL_KEY, leading, of_models
from fedxray.analysis.gate import KNOWN, OF_WAVE
from fedxray.analysis.statistics import PRIMARY
from fedxray.core.files import read_json, read_table, sha256
from fedxray.data import datasets
from fedxray.data.site import SiteFolder
from fedxray.experiment.cohorts import Cohort
from fedxray.experiment.experiment import POOLED, Experiment, model_name
from fedxray.experiment.folder import Folder
from fedxray.experiment.given import unlike
from fedxray.report import checklists, explorer, pages
from fedxray.report.citations import Citations, inlined
from fedxray.report.contents import CAPTIONS, DEFAULTS, TEMPLATES, figures

UNLIKE = {"prevalence": 0.1, "intensity_mean": 10.0, "images": 1.5}  # differences, and of images a ratio, worth a word
KINDS = {"bacteria": "bacterial", "virus": "viral"}
CLASSES = {"gains": "good", "not harmed": "good", "harmed": "bad"}


def page(config: dict, folder: Folder, note: str) -> str:
    """The page as HTML that needs no network and no other file; `note` is a warning on top of it."""
    templates = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    return templates.get_template("index.html").render(Page(config, folder, note).values())


class Page:
    """The values of the page. What it says in numbers is made by `Citations`, so that each leads to its row."""

    def __init__(self, config: dict, folder: Folder, note: str):
        self.config, self.folder, self.note = config, folder, note
        self.experiment = Experiment.from_config(config)
        self.cited = Citations(folder.root)
        self.parts = pages.render(config, folder, note)
        self.is_here = config["federation"]["where"] == "here"
        self.sources = datasets.sources(config) if self.is_here else []  # of a remote federation they are not known
        self.external = datasets.external(config) if self.is_here else []
        self.has_intervals = self.is_here or bool(config["promotion"]["predecessor"])
        self.registry = read_table(folder.registry)
        if "cohort" not in self.registry:  # a remote federation has one
            self.registry["cohort"] = ""
        self.points = read_table(folder.points)
        self.lead = leading(self.points[self.points["chosen"]])

    def values(self) -> dict:
        """What the template shows."""
        found = {
            "config": self.config,
            "synthetic": "Synthetic" in self.note,
            "note": self.note,
            "is_here": self.is_here,
            "confidence": self._of_config("evaluation.confidence", "{:g}") if self.has_intervals else "",
            "margin": self._of_config("evaluation.margin", "{:g}") if self.is_here else "",
            "answers": [(cohort, *map(self.cited.sentence, both)) for cohort, *both in self._answers()],
            "main": self._figure("answer" if self.is_here else "cross_site"),
            "hospitals": list(self._hospitals()),
            "methods": self._methods(),
            "against": self._against() if self.is_here else "",
            "described": pages.Runs(self.config, self.folder).federated(),
            "personal": sorted(set(self.points["method"][self.points["mode"] == "personal"]) - {""}),
            "compared": self._figure("method_gain" if len(self.experiment.methods) > 1 else "roc"),
            **self._explored(),
            "outside": list(self._outside()),
            "spent": list(self._spent()),
            "simulation": any(bound["simulation"] for bound in self.bounds.values()),
            "audit": list(self._audit()),
            "gate": list(self._gate()),
            "updates": list(self._updates()),
            "updated": self._figure("updates") if self.experiment.is_updated else None,
            "sources": [self._source(source) for source in self.sources],
            "external": [self._source(source) for source in self.external],
            "limits": self._limits(),
            "named": self._are_named(),
            "secret": any(not bound["simulation"] for bound in self.bounds.values()),
            "on_gpu": any(self.folder.run(path).read_record()["device"] != "cpu" for path in self.points["path"]),
            "seeds": self._seeds(),
            "split_seed": self._of_config("split.seed", "{}") if self.is_here else "",
            "several_seeds": self.points["seed"].nunique() > 1,
            "versions": self._versions(),
            "own": yaml.safe_dump(unlike(self.config, yaml.safe_load(DEFAULTS.read_text())), sort_keys=False),
            "checksums": self._checksums(),
            "figures": [self._figure(name) for name in figures(self.experiment) if name not in self._standing()],
            "parts": [Markup(text) for text in self.parts.values()],
        }
        return found | {"checklists": self._checklists(), "cells": self.cited.sources()}

    @cached_property
    def methods_table(self) -> pd.DataFrame:
        """methods.csv, as it stands in the file."""
        return read_table(self.folder.methods)

    @cached_property
    def bounds(self) -> dict[str, dict]:
        """{path: what the run spends on one patient} of each private run."""
        found = {path: self.folder.run(path).read_record().get("privacy") for path in self.points["path"]}
        return {path: bound for path, bound in found.items() if bound}

    def _number(self, text: str, file: str, row: int | str, *columns: str, scale: float = 1.0) -> Markup:
        return self.cited.number(Cited(text, file, (row,), columns, scale))

    def _of_config(self, key: str, form: str) -> Markup:
        section, name = key.split(".")
        return self._number(form.format(self.config[section][name]), answer.CONFIG, key)

    def _seeds(self) -> Markup:
        keys = tuple(f"seeds.{place}" for place in range(len(self.config["seeds"])))
        return self.cited.number(Cited(", ".join(map(str, self.config["seeds"])), answer.CONFIG, keys))

    def _answers(self) -> Iterator[tuple]:
        """The two sentences of each cohort, which the terminal shows too."""
        if self.is_here:
            evaluation = self.config["evaluation"]
            updates = read_table(self.folder.updates) if self.experiment.is_updated else None
            return answer.answers(self.methods_table, evaluation["margin"], evaluation["confidence"], updates)
        return answer.answers_at_sites(of_models(read_table(self.folder.at_sites), self.lead, MODEL_KEY))

    def _standing(self) -> set[str]:
        """The figures that stand in the text."""
        of_methods = {"answer", "method_gain" if len(self.experiment.methods) > 1 else "roc"}
        asked = {"sweep": self._shows_sweep(), "updates": self.experiment.is_updated}
        return (of_methods if self.is_here else {"cross_site"}) | {name for name, shown in asked.items() if shown}

    def _shows_sweep(self) -> bool:
        """Whether the points of a sweep stand in the text; of several methods the figure of their gains does."""
        return self.experiment.is_swept and len(self.experiment.methods) == 1

    def _explored(self) -> dict:
        """All runs, to explore, where there are many: a sweep or several methods. `swept` is their picture in print."""
        if not self.experiment.is_swept and len(self.experiment.methods) < 2:
            return {"runs": None, "swept": None}
        tested = read_table(self.folder.comparison if self.is_here else self.folder.at_sites)
        epsilons = {path: float(f"{bound['epsilon']:.3g}") for path, bound in self.bounds.items()}
        table = explorer.table_of(self.points, tested, epsilons)
        swept = self._figure("sweep") if self._shows_sweep() else None
        return {"runs": table, "swept": swept, "libraries": explorer.libraries()}

    def _figure(self, name: str) -> dict:
        """A figure of the experiment with its caption; without a picture if it was not drawn."""
        svg = dict(self.folder.figure(name))["svg"]
        caption = (CAPTIONS / f"{name}.rst").read_text().strip()
        picture = inlined(svg) if svg.exists() else ""
        return {"name": name.replace("_", " "), "picture": picture, "caption": caption}

    def _hospitals(self) -> Iterator[dict]:
        """For each hospital: the verdict, what is said to it, its patients, and what its data have of their own."""
        advices = {one[:2]: one for one in answer.advices(self.methods_table)} if self.is_here else {}
        for cohort in self.experiment.cohorts:
            odd = self._suspects(cohort)
            for site in cohort.sites:
                found = advices.get((cohort.name, site))
                verdict = found.verdict if found else "cannot be told"
                yield {
                    "name": site,
                    "cohort": cohort.name,
                    "verdict": verdict,
                    "look": CLASSES.get(verdict, "open"),
                    "sentences": [self.cited.sentence(sentence) for sentence in (found.sentences if found else [])],
                    "patients": self._patients(cohort, site),
                    "peculiarities": [*self._peculiarities(cohort, site), *odd.get(site, [])],
                    "alike": self._alike(cohort),
                }

    def _patients(self, cohort: Cohort, site: str) -> Markup:
        """How many patients and images a hospital has, from the registry."""
        row = self.registry[(self.registry["site"] == site) & (self.registry["cohort"] == cohort.name)].iloc[0]
        file = self.folder.registry.relative_to(self.folder.root).as_posix()
        counts = {
            split: [
                self._number(f"{row[f'{split}_{what}']:.0f}", file, line_of(row.name), f"{split}_{what}")
                for what in ("patients", "images")
            ]
            for split in ("train", "test")
        }
        share = self._number(f"{row['prevalence']:.2f}", file, line_of(row.name), "prevalence")
        text = "{} patients ({} images) to train on, and {} ({}) to test on; the share of images with pneumonia is {}"
        return Markup(text).format(*counts["train"], *counts["test"], share)

    def _peculiarities(self, cohort: Cohort, site: str) -> Iterator[Markup]:
        """What is unlike at a hospital, from the data cards of its cohort; those of hospitals elsewhere stay there."""
        row = self.registry[(self.registry["site"] == site) & (self.registry["cohort"] == cohort.name)].iloc[0]
        if row["trouble"]:
            yield Markup("Its data were made wrong on purpose: {}").format(row["trouble"])
        if not self.is_here:
            return
        for source in self.sources:
            if source.site == site:
                yield Markup('All its images are from one source: <span class="said">{}</span>').format(
                    source.dataset.title
                )
        cards = {name: read_json(SiteFolder(self.folder.site(cohort, name)).card) for name in cohort.sites}
        train = {name: card["splits"]["train"] for name, card in cards.items()}
        others = [facts for name, facts in train.items() if name != site]
        if not others:
            return
        own = train[site]
        words = {"prevalence": ("higher", "lower"), "intensity_mean": ("brighter", "darker")}
        for name, (above, below) in words.items():
            apart = own[name] - np.mean([facts[name] for facts in others])
            if abs(apart) > UNLIKE[name]:
                value = self._of_card(cohort, site, f"splits.train.{name}", own[name])
                what, measure = (
                    ("Its share of pneumonia is", "{} in training")
                    if name == "prevalence"
                    else ("Its images are", "mean grey {} in training")
                )
                said = Markup(measure).format(value)
                yield Markup("{} {} than the others' ({})").format(what, above if apart > 0 else below, said)
        mean = np.mean([facts["images"] for facts in others])
        if max(own["images"] / mean, mean / own["images"]) > UNLIKE["images"]:
            yield Markup("It has {} images than the others").format("more" if own["images"] > mean else "fewer")
        missing = [
            name
            for kind, name in KINDS.items()
            if not own["aetiologies"].get(kind) and any(facts["aetiologies"].get(kind) for facts in others)
        ]
        if missing and own["aetiologies"].get("unknown"):
            yield Markup("Which kinds of pneumonia it has is not known; of the others it is")
        else:
            for name in missing:
                yield Markup("It has no {} pneumonia to train on, and others do").format(name)

    def _alike(self, cohort: Cohort) -> str:
        """In what a hospital without peculiarities is like the others; empty if there are none, or they are elsewhere.

        Kinds of pneumonia are not named where none is known.
        """
        if not self.is_here or len(cohort.sites) < 2:
            return ""
        cards = (read_json(SiteFolder(self.folder.site(cohort, name)).card) for name in cohort.sites)
        known = any(card["splits"]["train"]["aetiologies"].get(kind) for card in cards for kind in KINDS)
        return (
            "number, share of pneumonia, kinds and brightness" if known else "number, share of pneumonia and brightness"
        )

    def _of_card(self, cohort: Cohort, site: str, key: str, value: float) -> Markup:
        card = SiteFolder(self.folder.site(cohort, site)).card
        return self._number(f"{value:g}", card.relative_to(self.folder.root).as_posix(), key)

    def _suspects(self, cohort: Cohort) -> dict[str, list[Markup]]:
        """{hospital: [a remark]} of those that do not fit the others by what the server sees."""
        runs = self.lead[(self.lead["mode"] == "federated") & (self.lead["cohort"] == cohort.name)]
        found = set()
        for path in runs["path"]:
            run = self.folder.run(path)
            table = suspects.suspects(run.read_record()["rounds_at_sites"], run.read_curves())
            found |= set(table["site"][table["suspect"] == "yes"])
        remark = Markup("By what the server sees it does not fit the others; ask it to look at its labels and images")
        return {site: [remark] for site in found}

    def _methods(self) -> list[dict]:
        """A row for each model on the test patients of all hospitals; of a remote federation none."""
        if not self.is_here:
            return []
        rows, several = [], len(self.experiment.cohorts) > 1
        against = self._against()
        for row in self.methods_table[self.methods_table["hospital"] == POOLED].reset_index().to_dict("records"):
            index, line, file = row["index"], line_of(row["index"]), answer.METHODS
            cells: dict = {"cohort": row["cohort"]} if several else {}
            cells["model"] = breakable(_name(row) + " (chosen)" * row["chosen"])
            cells["validation"] = self.cited.number(interval(row, index, file, ("validation_auroc",)))
            cells["AUROC"] = self.cited.number(interval(row, index, file, ("auroc", "auroc_low", "auroc_high")))
            gain = interval(row, index, file, ("gain", "gain_low", "gain_high"), "+") if row["against"] else None
            cells["difference"] = self.cited.number(gain) if gain else ""
            cells |= {} if against else {"from": breakable(row["against"])}
            known = gain is not None and not pd.isna(row["p_adjusted"])
            form = "{:.3f}" if known and row["p_adjusted"] >= 0.001 else "{:.0e}"
            cells["p"] = self._number(form.format(row["p_adjusted"]), file, line, "p_adjusted") if known else ""
            cells["MB"] = self._number(f"{row['bytes_sent'] / 1e6:.1f}", file, line, "bytes_sent", scale=1e6)
            cells["seconds"] = self._number(f"{row['seconds']:.0f}", file, line, "seconds")
            rows.append(cells)
        return rows

    def _against(self) -> str:
        """The one model from which all differences of the table of methods are; empty if there are several, or none."""
        found = set(self.methods_table["against"][self.methods_table["hospital"] == POOLED]) - {""}
        return found.pop() if len(found) == 1 else ""

    def _outside(self) -> Iterator[dict]:
        """A row for each external test and model of the lead: its AUROC on images on which no hospital trained."""
        names = [source.name for source in self.external]
        if not names:
            return
        summary = read_table(self.folder.summary)
        summary = of_models(summary[summary["metric"] == PRIMARY], self.lead, MODEL_KEY)
        for row in summary[summary["test_set"].isin(names)].reset_index().to_dict("records"):
            cells = {"test": row["test_set"], "model": ", ".join(filter(None, [row["cohort"], _name(row)]))}
            value = interval(row, row["index"], "summary.csv", ("estimate", "low", "high"))
            yield cells | {"AUROC": self.cited.number(value)}

    def _spent(self) -> Iterator[dict]:
        """A row for each model that was trained with differential privacy: what its runs spend on one patient."""
        for keys, runs in self.points[self.points["chosen"]].groupby(MODEL_KEY, sort=False):
            run = self.folder.run(runs["path"].iloc[0])
            bound = run.read_record().get("privacy")
            if bound:
                file = run.record.relative_to(self.folder.root).as_posix()
                cells: dict = {"model": breakable(", ".join(filter(None, [str(keys[0]), model_name(*keys[1:])])))}
                values = {"ε": "epsilon", "δ": "delta"}
                cells |= {
                    name: self._number(f"{bound[key]:.3g}", file, f"privacy.{key}") for name, key in values.items()
                }
                yield cells | {"of": bound["unit"]}

    def _audit(self) -> Iterator[dict]:
        """A row for each attack that was tried."""
        if not self.config["privacy"]["audit"] or not self.is_here:
            return
        found = read_table(self.folder.audit)
        for row in found[found["value"].notna()].reset_index().to_dict("records"):
            value = interval(row, row["index"], "audit.csv", ("value", "low", "high"))
            cells = {"attack": row["attack"], "on": row["target"], "measure": row["statistic"]}
            yield cells | {"value": self.cited.number(value)}

    def _updates(self) -> Iterator[dict]:
        """A row for each strategy and model: what it changes on new and on old patients, against keeping the model."""
        if not self.experiment.is_updated:
            return
        table = read_table(self.folder.updates).reset_index()
        shown = table[table["metric"].isin([PRIMARY, "calibration_error"])]
        for keys, rows in shown.groupby(["cohort", "test_set", "mode", "method", "site", "strategy"], sort=False):
            _, test_set, mode, method, site, strategy = keys
            cells = {"patients of": "all" if test_set == POOLED else test_set, "model": model_name(mode, method, site)}
            cells |= {"strategy": strategy}
            by = rows.set_index(["question", "metric"])
            for question in ("new", "old"):
                row = by.loc[(question, PRIMARY)]
                value = interval(row, row["index"], answer.UPDATES, ("estimate", "low", "high"), "+")
                cells[f"AUROC, {question}"] = self.cited.number(value)
            for question in ("new", "old"):
                row = by.loc[(question, "calibration_error")]
                value = interval(row, row["index"], answer.UPDATES, ("estimate",), "+")
                cells[f"calibration, {question}"] = self.cited.number(value)
            yield cells

    def _gate(self) -> Iterator[dict]:
        """A row for each rule by which the exported model may replace its predecessor, and for each wave."""
        if not self.config["promotion"]["predecessor"]:
            return
        for row in read_table(self.folder.gate).reset_index().to_dict("records"):
            what = row["what"]
            if what == KNOWN:
                what = Markup('<span class="said">{}</span>').format(row["sentence"])
            elif what.startswith(OF_WAVE):
                what = Markup('of these, wave <span class="said">{}</span>').format(what.removeprefix(OF_WAVE))
            cells = {"hospital": row["hospital"], "what": what, "value": "", "bound": ""}
            if row["bound"] == row["bound"]:
                cells["bound"] = self._number(f"{row['bound']:.3g}", "gate.csv", line_of(row["index"]), "bound")
            if row["value"] == row["value"]:
                cells["value"] = self.cited.number(interval(row, row["index"], "gate.csv", ("value", "low", "high")))
            yield cells | {"holds": {"true": "yes", "false": "no"}.get(str(row["holds"]).lower(), "not judged")}

    def _source(self, source: datasets.Source) -> dict:
        """What a source is, and how many images and patients were taken of it."""
        summary = self.folder.data(source.folder).summary
        facts, file = read_json(summary), summary.relative_to(self.folder.root).as_posix()
        counts = {name: self._number(str(facts[name]), file, name) for name in ("files", "images", "patients")}
        return counts | {"dataset": source.dataset, "site": source.site, "name": source.name}

    def _limits(self) -> list[str]:
        """What the data sets say of themselves, each sentence once; of several each says whose it is."""
        found = {source.dataset.name: source.dataset for source in [*self.sources, *self.external]}.values()
        return [
            f"{dataset.title}: {limit}" if len(found) > 1 else limit for dataset in found for limit in dataset.limits
        ]

    def _are_named(self) -> bool:
        """Whether the user's own images say whose they are, so that no hospital was drawn."""
        partitions = {cohort.split["partition"] for cohort in self.experiment.cohorts}
        return {source.dataset.name for source in self.sources} == {"folder"} and partitions == {"acquisition"}

    def _versions(self) -> list[tuple[str, str]]:
        """What the runs were trained with."""
        found: dict[str, dict[str, bool]] = {
            "fedxray": {fedxray.__version__: True},
            "NVFlare": {version("nvflare"): True},
        }
        for path in self.points["path"]:
            record = self.folder.run(path).read_record()
            for name, value in record["machine"].items():
                found.setdefault(name, {})[str(value)] = True
        return [(name, ", ".join(values)) for name, values in found.items()]

    def _checksums(self) -> list[tuple[str, str]]:
        """(file, SHA-256) of what a repetition has to reproduce; these files have no times in them."""
        files = [self.folder.config, self.folder.registry, self.folder.summary, self.folder.differences]
        files += [self.folder.model / "model.safetensors"]
        return [(file.relative_to(self.folder.root).as_posix(), sha256(file)) for file in files if file.exists()]

    def _checklists(self) -> list[dict]:
        """The items of each checklist, and where the page answers them: only what stands in this page counts."""
        ids = {"question", "hospitals", "limits", "repeat", "data", *self.parts}
        ids |= {"external"} if self.external else set()
        ids |= {"figures"} if "mistakes" in figures(self.experiment) else set()  # which are meant
        return [
            {
                "list": checklist,
                "answered": sum(item.where in ids for item in checklist.items),
                "items": [(item, item.where if item.where in ids else "") for item in checklist.items],
            }
            for checklist in (checklists.TRIPOD, checklists.CLAIM)
        ]


def breakable(name: str) -> Markup:
    """A name that may be broken between lines after each +."""
    return escape(name).replace("+", Markup("+<wbr>"))


def _name(row: dict) -> str:
    return model_name(row["mode"], row["method"], row["site"])
