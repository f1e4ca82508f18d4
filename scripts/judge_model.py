"""Judge whether the exported model may replace its predecessor, by the rules that were written before (gate.json).

The predecessor predicts each hospital's test images here; the exported model's predictions are those of its run.
"""

from pathlib import Path

from fedxray.analysis.choice import exported
from fedxray.analysis.cohorts import cohorts_of
from fedxray.analysis.gate import BELONGS, Rules, Scored, data_of, judge, known_of
from fedxray.core import cli
from fedxray.core.errors import UserError
from fedxray.core.files import read_table, sha256, write_table
from fedxray.data.site import load_site, waves_of
from fedxray.experiment.folder import Folder
from fedxray.training.exported import LINEAGE, MODEL, load_exported, read_config
from fedxray.training.trainer import predict


def main(options):
    """Write gate.csv."""
    folder, rules = Folder(options.results), Rules.read(options.rules)
    run, config = exported(read_table(folder.chosen)), read_config(folder.model)
    predecessor, about = load_exported(options.predecessor)
    if (digest := about["sha256"][MODEL]) != rules.predecessor_sha256:
        raise UserError(f"{options.predecessor}: another model than when {options.rules} was written; give that back")
    predictions = read_table(folder.predictions)
    predictions = predictions[predictions["path"] == run["path"]]
    cohort, compute = cohorts_of(folder)[run["cohort"]], folder.run(run["path"]).settings().compute
    tested = {}
    for site in rules.hospitals:
        data, rows = load_site(folder.site(cohort, site)), predictions[predictions["set"] == site]
        if list(rows["image"]) != list(data.table["image"][data.table["split"] == "test"]):
            raise UserError(f"{folder.predictions}: not of the test images of {site}; run the workflow again")
        before = predict(predecessor, data.part("test")[0], compute)
        columns = rows["label"].to_numpy(float), rows["patient"].to_numpy(str), rows["probability"].to_numpy(float)
        waves = waves_of(data.table)[data.table["split"] == "test"].to_numpy(int)
        tested[site] = Scored(*columns, before.astype(float), waves)
    privacy = folder.run(run["path"]).read_record().get("privacy", {})
    known = known_of(about.get(LINEAGE, {}), data_of(read_table(folder.registry), run["cohort"], rules.hospitals))
    table = judge(tested, rules, run["threshold"], privacy, known)
    candidate = sha256(folder.model / MODEL)
    if config["run"] != run["path"] or config["sha256"][MODEL] != candidate:
        raise UserError(f"{folder.model}: not the model of {run['path']}; run the workflow again")
    write_table(options.output, table.assign(**dict(zip(BELONGS, (candidate, digest, rules.sha256), strict=True))))
    for sentence in table["sentence"]:
        print(sentence)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--rules", type=Path, required=True, help="gate.json")
    arguments.add_argument(
        "--predecessor", type=Path, required=True, help="directory of the model that may be replaced"
    )
    arguments.add_argument("--results", type=Path, required=True, help="folder of the experiment")
    arguments.add_argument("--output", type=Path, required=True, help="gate.csv, to write")
    cli.run(main, arguments)
