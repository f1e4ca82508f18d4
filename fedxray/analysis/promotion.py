"""The exported model of an experiment and the one that it may replace, each checked to be the one that it was."""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from fedxray.analysis.choice import exported
from fedxray.analysis.gate import BELONGS, Measured, Rules, data_of, earlier_of, judge, known_of
from fedxray.core.errors import UserError
from fedxray.core.files import read_table, sha256, write_table
from fedxray.experiment.folder import Folder
from fedxray.training.exported import LINEAGE, MODEL, load_exported, read_config


def add_options(parser: ArgumentParser) -> None:
    """Let a script take the two models and their gate on its command line."""
    parser.add_argument("--rules", type=Path, required=True, help="gate.json")
    parser.add_argument("--predecessor", type=Path, required=True, help="directory of the model that may be replaced")
    parser.add_argument("--results", type=Path, required=True, help="folder of the experiment")
    parser.add_argument("--output", type=Path, required=True, help="gate.csv, to write")


class Promotion:
    """The exported model of an experiment, its predecessor, and the rules of the gate between them."""

    def __init__(self, options: Namespace):
        """Takes the options of `add_options`. Raises UserError if a model is not the one of the rules or of its run."""
        self.folder, self.rules = Folder(options.results), Rules.read(options.rules)
        self.run, config = exported(read_table(self.folder.chosen)), read_config(self.folder.model)
        self.network, self.about = load_exported(options.predecessor)
        self.predecessor = self.about["sha256"][MODEL]
        if self.predecessor != self.rules.predecessor_sha256:
            raise UserError(
                f"{options.predecessor}: another model than when {options.rules} was written; give that back"
            )
        self.candidate = sha256(self.folder.model / MODEL)
        if config["run"] != self.run["path"] or config["sha256"][MODEL] != self.candidate:
            raise UserError(f"{self.folder.model}: not the model of {self.run['path']}; run the workflow again")
        self.settings = self.folder.run(self.run["path"]).settings()  # of the exported model
        form = {key: self.about[key] for key in ("model", "image_size", "norms", "standardise")}
        self.settings_before = replace(self.settings.without_start, **form)  # the predecessor's, as far as it predicts

    def write(self, path: Path, measured: Mapping[str, Measured]) -> list[str]:
        """Write `gate.csv` to `path`; returns its sentences. `measured` has each hospital of the rules."""
        registry = read_table(self.folder.registry)
        privacy = self.folder.run(self.run["path"]).read_record().get("privacy", {})
        data = data_of(registry, self.run["cohort"], self.rules.hospitals)
        known = known_of(self.about.get(LINEAGE, {}), data, earlier_of(registry))
        table = judge(measured, self.rules, privacy, known)
        digests = self.candidate, self.predecessor, self.rules.sha256
        write_table(path, table.assign(**dict(zip(BELONGS, digests, strict=True))))
        return list(table["sentence"])
