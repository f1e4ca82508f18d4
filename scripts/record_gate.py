"""Write the rules by which the exported model may replace its predecessor, before any test set is read.

Rules that are there already stay. If test sets were read since, other rules are refused.
"""

from pathlib import Path

from fedxray.analysis.bootstrap import add_options
from fedxray.analysis.gate import Rules
from fedxray.core import cli
from fedxray.core.errors import UserError
from fedxray.core.files import sha256
from fedxray.experiment.folder import Folder
from fedxray.training.exported import CONFIG, MODEL, read_config


def main(options):
    """Write the file."""
    digest = sha256(options.predecessor / MODEL)
    if read_config(options.predecessor)["sha256"].get(MODEL) != digest:
        raise UserError(
            f"{options.predecessor / MODEL}: not the file that {CONFIG} was written for (SHA-256); export it again"
        )
    numbers = {name: getattr(options, name) for name in ("margin", "calibration", "epsilon", "replicates")}
    rules = Rules(digest, tuple(options.sites), **numbers, confidence=options.confidence, seed=options.seed)
    rules.write(options.output, read_before=Folder(options.results).shows_tests)
    print(f"rules of the gate, SHA-256 {rules.sha256}")


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument(
        "--predecessor", type=Path, required=True, help="directory of the model that may be replaced"
    )
    arguments.add_argument("--sites", nargs="+", required=True, help="hospitals at each of which it must hold")
    arguments.add_argument("--margin", type=float, required=True, help="loss of AUROC that must be excluded")
    arguments.add_argument("--calibration", type=float, required=True, help="largest calibration error")
    arguments.add_argument("--epsilon", type=float, required=True, help="largest epsilon spent; 0: it is not asked")
    add_options(arguments)
    arguments.add_argument("--results", type=Path, required=True, help="folder of the experiment")
    arguments.add_argument("--output", type=Path, required=True, help="gate.json, to write")
    cli.run(main, arguments)
