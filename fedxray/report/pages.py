"""The folded parts of the report's page, from the results: a template has the text, this module the values."""

import math
from importlib.metadata import distributions, version

import numpy as np
import pandas as pd
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fedxray.analysis import answer, suspects
from fedxray.analysis.adaptation import AT_THRESHOLD, CALIBRATED
from fedxray.analysis.choice import MODEL_KEY, edges, leading, of_models, point_columns, without_coalitions
from fedxray.analysis.comparison import by_aetiology, fairness
from fedxray.analysis.external import apart
from fedxray.analysis.statistics import PRIMARY
from fedxray.core.files import read_json, read_table
from fedxray.data import datasets
from fedxray.data.labels import SHARED
from fedxray.data.site import SiteFolder
from fedxray.experiment.experiment import POOLED, Experiment, model_name
from fedxray.experiment.folder import Folder
from fedxray.experiment.method import Method
from fedxray.experiment.sweep import KNOBS, name_of
from fedxray.report import costs
from fedxray.report.algorithms import described, scheduled
from fedxray.report.contents import PARTS, REMOTE_PARTS, TEMPLATES
from fedxray.training.metrics import words

SHOWN = ("auroc", "balanced_accuracy", "sensitivity", "specificity", "brier", "calibration_error")
ENGINES = {"nvflare": "NVIDIA FLARE", "inprocess": "one process"}


def render(config: dict, folder: Folder, note: str) -> dict[str, str]:
    """Every part by its name, as HTML that needs no network; `note` is the warning of the page that they stand in."""
    is_here = config["federation"]["where"] == "here"
    templates = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    results = (Results if is_here else Runs)(config, folder)
    shared = {"config": config, "note": note, "sources": results.sources, "external": results.external}
    reference = config["evaluation"]["reference"]
    shared |= {"reference": {"central": "central training", "alone": "each hospital alone"}.get(reference, reference)}
    shared |= {"confidence": f"{config['evaluation']['confidence']:.0%}"}
    parts = PARTS if is_here else REMOTE_PARTS
    values = {name: shared | {"part": name} | getattr(results, name)() for name in parts}
    return {name: templates.get_template(f"{name}.html").render(values[name]) for name in parts}


class Runs:
    """The runs of an experiment, and the values that a part shows of them: by a method of the part's name."""

    def __init__(self, config: dict, folder: Folder):
        self.config, self.folder = config, folder
        self.sources, self.external = datasets.sources(config), datasets.external(config)
        self.points = read_table(folder.points)
        self.chosen = without_coalitions(self.points[self.points["chosen"]])
        self.records = [folder.run(path).read_record() for path in self.points["path"]]

    def privacy(self) -> dict:
        """Who sees what, what each model may reveal of a patient, and what attacks found."""
        private = [record["privacy"] for record in self.records if record.get("privacy")]
        spent = []
        for keys, runs in self.points.groupby(MODEL_KEY, sort=False):
            spends = [self.folder.run(path).read_record().get("privacy") for path in runs["path"]]
            for bound in {str(bound): bound for bound in spends}.values():
                if bound:
                    named = {"ε": f"{bound['epsilon']:.3g}", "δ": f"{bound['delta']:g}", "σ": f"{bound['sigma']:g}"}
                    named |= {"rate": f"{bound['rate']:.4f}", "steps": bound["steps"], "patients": bound["patients"]}
                    places = {"sites": "in each hospital's steps", "sum": "in the sum of all hospitals"}
                    where = places[bound["dp"]] if keys[1] == "federated" else "in its steps"
                    where += f", of which {bound['colluders']} may collude" * (bound["dp"] == "sum")
                    counted = named | {"runs": spends.count(bound)}
                    spent.append(_model(*keys) | {"noise": where, "unit": bound["unit"]} | counted)
        return {
            "seen": _seen(self.config),
            "partners": self._partners(),
            "spent": spent,
            "together": {name: f"{self._together(name):.3g}" for name in ("epsilon", "delta")},
            "clip": ", ".join(sorted({f"{bound['clip']:g}" for bound in private})),
            "accountant": ", ".join(sorted({bound["accountant"] for bound in private})),
            "simulation": any(bound["simulation"] for bound in private),
            "audit": self._audit(),
        }

    def _partners(self) -> list[dict]:
        """A row for each hospital whose answers were masked, with the certificates that it has shown to the others."""
        shown = {pair for record in self.records for pair in record["partners"].items()}
        return [{"hospital": site, "SHA-256 of its certificate": digest} for site, digest in sorted(shown)]

    def _together(self, name: str) -> float:
        """The most `epsilon`, or `delta`, that all private runs together spend on a patient: a sum (basic composition).

        A patient is at one hospital of each cohort.
        """
        runs = self.points.assign(spent=[record.get("privacy", {}).get(name, 0.0) for record in self.records])
        shared = runs["site"] == POOLED
        alone = runs[~shared].groupby(["cohort", "site"])["spent"].sum().groupby("cohort").max()
        return float(runs["spent"][shared].sum() + alone.sum())

    def _audit(self) -> list[dict]:
        """Each attack, with a row for each target; none if there were no attacks."""
        if not self.config["privacy"]["audit"]:
            return []
        attacks = []
        for attack, found in read_table(self.folder.audit).groupby("attack", sort=False):
            rows = []
            for target, part in found.groupby("target", sort=False):
                first, *others = _rows(part)
                row = {"target": target, first["statistic"]: _cell(first["value"], first["low"], first["high"])}
                if attack == "canaries":
                    row["claimed at most"] = "nothing" if pd.isna(first["claimed"]) else f"{first['claimed']:.3g}"
                row["where it must find something"] = _decimal(first["power"], 3)
                row |= {item["statistic"]: _cell(item["value"], item["low"], item["high"]) for item in others}
                rows.append(row if attack.startswith("membership") else row | {"in words": first["sentence"]})
            attacks.append({"name": attack, "rows": rows})
        return attacks

    def configuration(self) -> dict:
        """Every value of the configuration by its dotted key; hospitals elsewhere have data of their own."""
        config = dict(self.config)
        if config["federation"]["where"] == "remote":
            for section in ("dataset", "trouble"):
                del config[section]
            config["split"] = {"balance": config["split"]["balance"]}
        return {"tables": {"Values": _named(flat(config))}}

    def environment(self) -> dict:
        """What the runs were trained on, and every package installed where the report is written."""
        packages = {item.metadata["Name"]: item.version for item in distributions()}
        ordered = sorted(packages.items(), key=lambda pair: pair[0].lower())
        return {"tables": {"Machine": _named(self._machine().items()), "Packages": _named(ordered)}}

    def federated(self) -> list[dict]:
        """A row for each federated method: what it is, its schedule and its numbers, of the points that were chosen."""
        rows = {}
        for path, method in zip(self.chosen["path"], self.chosen["method"], strict=True):
            record = self.folder.run(path).read_record()
            if record["method"] is None:
                continue
            used = Method(**record["method"])
            numbers = ", ".join(f"{name} {value}" for name, value in used.numbers.items())
            row = {"method": method or used.slug, "what it does": described(used, record.get("privacy", {}))}
            row |= {"schedule": scheduled(record["schedule"]), "numbers": numbers or "none"}
            rows[tuple(row.values())] = row
        return list(rows.values())

    def _machine(self) -> dict:
        """What the runs were trained on and with."""
        machine: dict[str, dict[str, bool]] = {}
        for record in self.records:
            for key, value in (record["machine"] | {"device": record["device"]}).items():
                machine.setdefault(key, {})[str(value)] = True
        return {key: ", ".join(values) for key, values in machine.items()}


class Results(Runs):
    """All tables of an experiment whose federation is here, and the values that each part shows of them."""

    def __init__(self, config: dict, folder: Folder):
        super().__init__(config, folder)
        experiment = Experiment.from_config(config)
        self.cohorts = experiment.cohorts
        self.has_contributions = "coalition" in experiment.modes
        self.budget = sorted({run.budget for run in experiment.jobs if run.model.mode == "federated"})
        self.tests = [source.name for source in self.external]
        self.summary, self.summary_outside = apart(read_table(folder.summary), self.tests)
        self.differences, self.differences_outside = apart(read_table(folder.differences), self.tests)
        self.by_method = read_table(folder.methods)
        one_process = config["federation"]["engine"] == "inprocess"
        self.confirmed = len(read_table(folder.confirmed)) if one_process else 0

    def conclusions(self) -> dict:
        """Sentences, the pooled table, external tests, fairness, and which points were chosen."""
        primary, outside = self.differences[self.differences["metric"] == PRIMARY], self.differences_outside
        lead = of_models(primary, leading(self.chosen), MODEL_KEY[:3])
        compared = without_coalitions(self.points)
        used = [name for name in point_columns(self.chosen) if (self.chosen[name].map(_short) != "").any()]
        pooled = self.summary[self.summary["test_set"] == "pooled"]
        return {
            "primary": _sentences(primary[primary["question"] == "reference"]),
            "secondary": _sentences(lead[lead["question"].isin(["alone", "joining"])]),
            "hospitals": self._hospitals(),
            "own_thresholds": self._own_thresholds(),
            "contributions": self._contributions(),
            "suspects": list(
                suspects.said(leading(self.chosen), self.folder)
            ),  # a line for each hospital that analysis/suspects.py finds
            "pooled": [
                _model(*keys) | {words(metric): _interval(rows, metric) for metric in SHOWN}
                for keys, rows in pooled.groupby(MODEL_KEY, sort=False)
            ],
            "outside": _sentences(outside[outside["metric"] == PRIMARY]),
            "outside_sets": self._external_sets(),
            "outside_table": [
                {"test": test_set, **_model(*keys)} | {words(metric): _interval(rows, metric) for metric in SHOWN}
                for (test_set, *keys), rows in self.summary_outside.groupby(["test_set", *MODEL_KEY], sort=False)
            ],
            "fairness": [
                {"cohort": cohort or "all", **row}
                for cohort, rows in self.summary[self.summary["metric"] == PRIMARY].groupby("cohort", sort=False)
                for row in _rows(fairness(rows).map(_decimal).reset_index())
            ],
            "seeds": self.points["seed"].nunique(),
            "points": compared.groupby(MODEL_KEY)["path"].nunique().max() // self.points["seed"].nunique(),
            "chosen": [
                _model(*keys)
                | {name: _short(rows[name].iloc[0]) for name in used}
                | {"validation AUROC": f"{rows['validation_auroc'].mean():.4f}"}
                for keys, rows in self.chosen.groupby(MODEL_KEY, sort=False)
            ],
            "edges": [
                f"{edge} that was tried ({', '.join(_title(*model) for model in models)})"
                for edge, models in edges(compared).items()
            ],
            "confirmed": self.confirmed,
            "agreed": len(read_table(self.folder.agreement)),
            "exact": all(record["device"] == "cpu" for record in self.records),
        }

    def _hospitals(self) -> list[dict]:
        """For each cohort and hospital: the models that it could use."""
        of_hospitals = self.by_method[self.by_method["hospital"] != POOLED].groupby(["cohort", "hospital"], sort=False)
        return [{"name": ", ".join(filter(None, keys[::-1])), "models": _choices(rows)} for keys, rows in of_hospitals]

    def _own_thresholds(self) -> list[dict]:
        """A row for each shared model that leads and hospital: means over seeds, before and after."""
        table = of_models(read_table(self.folder.own_thresholds), leading(self.chosen), MODEL_KEY)
        rows = []
        for (test_set, *model), part in table.groupby(["test_set", *MODEL_KEY], sort=False):
            row = {"hospital": test_set, **_model(*model)}
            for metric in (*AT_THRESHOLD, *CALIBRATED):
                row[words(metric)] = (
                    f"{_decimal(part[metric].mean(), 3)} to {_decimal(part[f'{metric}_own'].mean(), 3)}"
                )
            rows.append(row | {"why not": "; ".join(dict.fromkeys(filter(None, part["note"])))})
        return rows if any(row["why not"] for row in rows) else [_without(row, "why not") for row in rows]

    def _contributions(self) -> list[dict]:
        """A row for each cohort, hospital and test set: what the hospital brings; none if no coalition was trained."""
        if not self.has_contributions:
            return []
        table = read_table(self.folder.contributions)
        rows = []
        for (cohort, hospital, test_set), part in table.groupby(["cohort", "hospital", "test_set"], sort=False):
            row = ({"cohort": cohort} if cohort else {}) | {"hospital": hospital, "brings to": test_set}
            for value in part.itertuples():
                name = value.what.replace("_", " ")
                row |= {name: _cell(value.estimate, value.low, value.high), f"p ({name})": _p(value.p_adjusted)}
            rows.append(row)
        return rows

    def datasheet(self) -> dict:
        """What the catalogues hold, and each cohort's sites."""
        heterogeneity = [
            {
                "cohort": cohort.name or "all",
                "labels, bits": f"{facts['label_divergence']:.4f}",
                "aetiologies, bits": f"{facts['aetiology_divergence']:.4f}",
                "largest / smallest hospital": f"{facts['size_ratio']:.2f}",
            }
            for cohort in self.cohorts
            for facts in [read_json(self.folder.cohort(cohort).heterogeneity)]
        ]
        return {"catalogues": self._catalogues(), "splits": self._splits(), "heterogeneity": heterogeneity}

    def methods(self) -> dict:
        """Data, budgets, software and hardware, from the records."""
        splits = [cohort.split for cohort in self.cohorts]
        knobs = [name_of(KNOBS.get(str(split["partition"]), "")) for split in splits]
        machine = self._machine() | {"training, all runs": f"{costs.seconds_of(self.points):.0f} s"}
        watts = self.config["evaluation"]["watts"]
        energy = costs.table_of(self.points, read_table(self.folder.registry), self.folder, watts)
        return {
            "data": [
                {"source": source, **self._summary(source), "archive": self._archive(source)}
                for source in (*self.sources, *self.external)
            ],
            "partitions": [
                f"{split['partition']}" + (f" ({knob} {split[knob]})" if knob else "")
                for split, knob in zip(splits, knobs, strict=True)
            ],
            "splits": self._splits(),
            "models": sorted({record["settings"]["model"] for record in self.records}),
            "tried": {
                name: list(dict.fromkeys(record["settings"][name] for record in self.records))
                for name in ("optimizer", "schedule", "batch_size")
            },
            "epochs": sorted(set(self.chosen["epochs"])),
            "parameters": " or ".join(str(count) for count in sorted(set(self.points["parameters"]))),
            "nvflare": version("nvflare"),
            "confirmed": self.confirmed,
            "seeds": self.config["seeds"],
            "budgets": self._budgets(),
            "budget": self.budget,
            "federated": self.federated(),
            "machine": _named(machine.items()),
            "costs": energy,
            "energy": costs.words_of(watts, energy),
        }

    def model_card(self) -> dict:
        """The exported model: what it is, and its metrics by site, external test and aetiology."""
        model, evaluation = read_json(self.folder.model / "config.json"), self.config["evaluation"]
        comparison, predictions = read_table(self.folder.comparison), read_table(self.folder.predictions)
        run = self.points[self.points["path"] == model["run"]].iloc[0]
        rows = comparison[(comparison[[*MODEL_KEY, "seed"]] == run[[*MODEL_KEY, "seed"]]).all(axis=1)]
        of_hospitals, outside = apart(rows, self.tests)
        predicted, _ = apart(predictions[predictions["path"] == model["run"]], self.tests)
        draw = evaluation["replicates"], evaluation["confidence"], evaluation["seed"]
        record = self.folder.run(model["run"]).read_record()
        facts = {key: model[key] for key in ("model", "image_size", "threshold", "experiment", "run", "warning")}
        return {
            "about": _named([*facts.items(), ("parameters", record["parameters"]), ("seed", record["seed"])]),
            "privacy": _bound(record.get("privacy", {})),
            "train_images": record["train_images"],
            "sites": record["sites"],
            "by_site": _by_test_set(of_hospitals),
            "by_external": _by_test_set(outside),
            "by_aetiology": [
                {"aetiology": {"none": "normal"}.get(row["aetiology"], row["aetiology"]), "images": row["images"]}
                | {
                    words(name): _cell(row[name], row[f"{name}_low"], row[f"{name}_high"])
                    for name in ("auroc", "called_pneumonia")
                }
                for row in _rows(by_aetiology(predicted, model["threshold"], *draw))
            ],
        }

    def _summary(self, source: datasets.Source) -> dict:
        """The counts of a source's catalogue."""
        return read_json(self.folder.data(source.folder).summary)

    def _archive(self, source: datasets.Source) -> dict:
        """The record of a source's download; empty if its images were not fetched."""
        record = self.folder.data(source.folder).archive_record
        return read_json(record) if record.exists() else {}

    def _catalogues(self) -> list[dict]:
        """A row for each value that a catalogue's summary has, and a column for each source."""
        columns = {source.name: dict(flat(self._summary(source))) for source in (*self.sources, *self.external)}
        if len(columns) == 1:
            return _named(*(values.items() for values in columns.values()))
        keys = list(dict.fromkeys(key for values in columns.values() for key in values))
        sections = list(dict.fromkeys(key.partition(".")[0] for key in keys))
        keys.sort(key=lambda key: sections.index(key.partition(".")[0]))  # those of one section stand together
        return [{"what": key, **{name: values.get(key, "-") for name, values in columns.items()}} for key in keys]

    def _splits(self) -> list[dict]:
        """A row per cohort, site and split, from the data cards; the shared validation set once."""
        rows = []
        for cohort in self.cohorts:
            for site in (*cohort.sites, SHARED):
                card = read_json(SiteFolder(self.folder.site(cohort, site)).card)
                for split, facts in card["splits"].items():
                    if split == "validation" and site != SHARED:
                        continue  # each site has a copy of the same set
                    row = {"cohort": cohort.name or "all", "hospital": site, "split": split}
                    row |= {name: facts[name] for name in ("images", "patients", "prevalence")}
                    row |= {
                        {"none": "normal"}.get(kind, kind): facts["aetiologies"].get(kind, 0)
                        for kind in ("none", "bacteria", "virus", "unknown")
                    }
                    rows.append(row | {"mean grey": facts["intensity_mean"]})
        return rows

    def _external_sets(self) -> list[dict]:
        """A row per external test: its source, and its images and patients from its data card."""
        rows = []
        for source in self.external:
            card = read_json(SiteFolder(self.folder.external(source.name).site).card)
            row = {"test": source.name, "source": source.dataset.title}
            row |= {name: card["splits"]["test"][name] for name in ("images", "patients", "prevalence")}
            if not card["provenance"]["patients_known"]:
                row["patients"] = "unknown: each image counts as one"
            rows.append(row)
        return rows

    def _budgets(self) -> list[dict]:
        """A row per mode: its points, runs, passes over the data, seconds and megabytes."""
        rows = []
        engines = pd.Series([record["engine"] for record in self.records], index=self.points.index)
        for (mode, method), runs in self.points.groupby(["mode", "method"], sort=False):
            epochs = sorted(set(runs["epochs"]))
            rows.append(
                {
                    "mode": ": ".join(filter(None, [mode, method])),
                    "trained by": ", ".join(engines[runs.index].map(ENGINES).unique()),
                    "runs": runs["path"].map(costs.trained_with).nunique(),
                    "learning rates": ", ".join(f"{lr:g}" for lr in sorted(set(runs["lr"]))),
                    "epochs (passes over the data)": ", ".join(map(str, epochs)),
                    "seconds a run (median)": f"{runs['seconds'].median():.1f}",
                    "MB a federation sends (median)": f"{runs['bytes_sent'].median() / 1e6:.1f}",
                }
            )
        return rows


def flat(value: dict, prefix: str = "") -> list[tuple[str, object]]:
    """(dotted key, value) of every leaf of a tree."""
    rows = []
    for key, item in value.items():
        if isinstance(item, dict) and item:
            rows += flat(item, f"{prefix}{key}.")
        else:
            listed = ", ".join(map(_word, item)) if isinstance(item, list) else item
            listed = _word(item) if isinstance(item, bool) else listed
            rows.append((f"{prefix}{key or 'not stated'}", "none" if item in ([], {}, "", None) else listed))
    return rows


def _sentences(contrasts: pd.DataFrame) -> list[str]:
    return [f"{row['cohort']}: {row['sentence']}" if row["cohort"] else row["sentence"] for row in _rows(contrasts)]


def _choices(rows: pd.DataFrame) -> list[dict]:
    """The rows of methods.csv of one hospital in words: what each model is worth to it, and what it costs."""
    table = []
    for row in _rows(rows):
        known = row["against"] != ""
        cells = {"model": model_name(row["mode"], row["method"], row["site"])}
        cells |= {"chosen by validation": "yes" if row["chosen"] else ""}
        cells |= {"validation AUROC": _decimal(row["validation_auroc"])}
        cells |= {"test AUROC": _cell(row["auroc"], row["auroc_low"], row["auroc_high"])}
        cells |= {"gain": _cell(row["gain"], row["gain_low"], row["gain_high"]) if known else "-"}
        cells |= {"over": row["against"], "p": _p(row["p_adjusted"])}
        cells |= {"verdict": answer.VERDICTS.get(row["verdict"], "")}
        needed = "" if row["noninferior"] == "true" else _short(row["patients_needed"])
        cells |= {"patients needed": needed, "MB": f"{row['bytes_sent'] / 1e6:.1f}"}
        table.append(cells | {"seconds": f"{row['seconds']:.0f}", "rounds": _short(row["rounds"])})
    return table


def _by_test_set(comparison: pd.DataFrame) -> list[dict]:
    """A row per test set of one run's rows of comparison.csv."""
    return [
        {"test set": row["test_set"], "images": row["images"], "patients": row["patients"]}
        | {words(metric): _cell(row[metric], row[f"{metric}_low"], row[f"{metric}_high"]) for metric in SHOWN}
        for row in _rows(comparison)
    ]


def _named(pairs) -> list[dict]:
    return [{"what": key, "value": value} for key, value in pairs]


def _rows(table: pd.DataFrame) -> list[dict]:
    return table.to_dict("records")


def _bound(privacy: dict) -> str:
    """What bounds what a model reveals of a patient, in a sentence, from the part `privacy` of its run's record."""
    if not privacy:
        return "Nothing bounds what the model may reveal of a patient: it was trained without differential privacy."
    unit, epsilon, delta = privacy["unit"], privacy["epsilon"], privacy["delta"]
    noise = " The noise is of the run's seed, so this is a simulation." if privacy["simulation"] else ""
    return f"Differential privacy of each {unit}, with epsilon {epsilon:.3g} at delta {delta:g}.{noise}"


def _seen(config: dict) -> list[dict]:
    """A row for each party: what it sees of the hospitals' patients, and what it may learn, under a configuration."""
    one_process, remote = config["federation"]["engine"] == "inprocess", config["federation"]["where"] == "remote"
    places = {run.privacy.dp for run in Experiment.from_config(config).jobs if run.model.mode == "federated"}
    secure, private = config["privacy"]["secure_aggregation"], places != {"none"}
    server = (
        "in each round the sum of the hospitals' answers, with the total of their images and their mean training loss"
        if secure
        else "in each round each hospital's answer (its model), its number of images, its losses and validation"
    )
    if one_process and secure:
        server += "; these runs were in one process, which adds up the same numbers without masks"
    alone = "the losses and AUROC" if secure else "the model, losses and AUROC"
    passed = "each hospital's data card (counts, grey levels, checksums); its metrics on its own test set; "
    passed += f"{alone} of each hospital alone"
    if config["promotion"]["predecessor"]:
        passed += "; the numbers of its gate, on its own test set"
    if remote:
        server += f"; {passed}"
    updates = "what the sum of all tells, and of no hospital by itself" if secure else "what an update tells of images"
    if places == {"sites"} and config["privacy"]["noise"] == "secret":
        updates = "of an image in training at most what ε allows, from all rounds together"
    model = "whether an image was in training: "
    model += "of a private model at most what ε allows, of another no bound" if private else "no bound"
    if remote:
        operator = f"no image; the shared model and its metrics; {passed}", "as whoever gets the final model"
        if not secure:
            operator = operator[0], f"{model}; of the model of one hospital alone too"
    else:
        operator = (
            "every image: here all hospitals are on one machine",
            "everything; docs/hospitals.md has federations of other machines",
        )
    seen = {
        "a hospital": ("its own images; the shared model of each round; the shared validation set", model),
        "the server and its operator": (server, updates),
        "whoever gets the final model": ("the model and its metrics", model),
        "whoever runs this workflow": operator,
    }
    return [
        {"party": party, "sees": sees, "may learn of other hospitals' patients": learns}
        for party, (sees, learns) in seen.items()
    ]


def _model(cohort: str, mode: str, method: str, site: str) -> dict:
    return ({"cohort": cohort} if cohort else {}) | {"model": model_name(mode, method, site)}


def _title(cohort: str, mode: str, method: str, site: str) -> str:
    return ", ".join(filter(None, [model_name(mode, method, site), cohort]))


def _interval(rows: pd.DataFrame, metric: str) -> str:
    row = rows[rows["metric"] == metric].iloc[0]
    return _cell(row["estimate"], row["low"], row["high"])


def _cell(value: float, low: float, high: float) -> str:
    if np.isnan(value):
        return "-"
    text = f"{value:z.3f} [{low:z.3f}, {high:z.3f}]" if not np.isnan(low) else f"{value:z.3f}"
    return text.replace(" ", "\u00a0")  # so that an interval is not broken between lines


def _decimal(value: float, digits: int = 4) -> str:
    return "-" if np.isnan(value) else f"{value:.{digits}f}"


def _p(value: float) -> str:
    return "" if pd.isna(value) else "<\u00a00.001" if value < 0.001 else f"{value:.3f}"


def _word(value) -> str:
    """A value of a configuration or catalogue, as YAML writes it."""
    if isinstance(value, dict):
        return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=math.inf).strip()
    return str(value).lower() if isinstance(value, bool) else str(value)


def _without(row: dict, name: str) -> dict:
    return {key: value for key, value in row.items() if key != name}


def _short(value) -> str:
    return "" if pd.isna(value) else f"{value:g}" if isinstance(value, float) else str(value)
