"""The gate of promotion: whether a federated model may replace its predecessor, by rules that were written before.

The rules are a file (`gate.json`) that is there before a test set is read. `measure` makes a hospital's numbers where
its test images are, and `judge` makes of these the rows of `gate.csv`: all of them must hold, at every hospital. That
each single test has its whole level then is the intersection-union test (Berger 1982, Technometrics 24:295), so that no
p value is adjusted.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from fedxray.analysis.bootstrap import patient_weights
from fedxray.analysis.statistics import Difference, Spread, calibrated, noninferior, of_one, paired
from fedxray.core.errors import UserError
from fedxray.core.files import read_json, write_json
from fedxray.core.seeds import stream
from fedxray.data.registry import CHECKSUMS
from fedxray.data.site import SiteData, waves_of

DIFFERENCE, CALIBRATION, EPSILON, KNOWN = "AUROC minus predecessor's", "calibration error", "epsilon", "predecessor"
OF_WAVE = f"{DIFFERENCE}, wave "  # and its number
COLUMNS = ["hospital", "what", "value", "low", "high", "bound", "holds", "sentence"]
# On each row too: which models and which rules it is of, as SHA-256.
BELONGS = ["candidate_sha256", "predecessor_sha256", "rules_sha256"]
FEWEST = 10  # test patients; if a wave has fewer, a hospital elsewhere sends no difference on any wave alone


@dataclass(frozen=True)
class Rules:
    """What a model must hold to replace its predecessor; config.yaml (`promotion`) says what each number is."""

    predecessor_sha256: str  # of its model.safetensors
    hospitals: tuple[str, ...]
    margin: float
    calibration: float
    epsilon: float
    replicates: int  # of the bootstrap over patients
    confidence: float
    seed: int

    @property
    def sha256(self) -> str:
        """The SHA-256 of the rules as JSON with sorted keys, without spaces."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def write(self, path: Path, read_before: bool) -> None:
        """Write the rules and their SHA-256 to `path`; `read_before` says whether test sets were read already.

        Raises UserError if they were, and `path` has other rules, or is not there.
        """
        if read_before and not (path.exists() and Rules.read(path) == self):
            raise UserError(
                f"{path}: {'other rules were' if path.exists() else 'no rules were'} written when the test sets were "
                "read, and a gate is written before; give the rules back, or take a new `experiment`"
            )
        write_json(path, {**asdict(self), "sha256": self.sha256})

    @classmethod
    def read(cls, path: Path) -> "Rules":
        """The rules in `path`. Raises UserError if they are missing, or are not what their SHA-256 was written for."""
        try:
            values = read_json(path)
            said = values.pop("sha256")
            rules = cls(**(values | {"hospitals": tuple(values["hospitals"])}))
        except FileNotFoundError as error:
            raise UserError(f"{path}: missing; set promotion.predecessor, and run the workflow") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path}: not the rules of a gate ({error!r}); run the workflow again") from error
        if rules.sha256 != said:
            raise UserError(f"{path}: changed since it was written (SHA-256); the gate means nothing any more")
        return rules


class Scored(NamedTuple):
    """A hospital's test images: labels float64 (n,), patients text (n,), both models' probabilities float64 (n,).

    `waves` int64 (n,) are those in which the images came.
    """

    labels: np.ndarray
    patients: np.ndarray
    candidate: np.ndarray
    predecessor: np.ndarray
    waves: np.ndarray

    @classmethod
    def of_site(cls, data: SiteData, candidate: np.ndarray, predecessor: np.ndarray) -> "Scored":
        """Those of a site, with the two models' probabilities of them."""
        waves = waves_of(data.table)[data.table["split"] == "test"].to_numpy(int)
        return cls(data.part("test")[1].astype(float), data.patients("test"), candidate, predecessor, waves)

    def of(self, wave: int) -> "Scored":
        """The images of one wave."""
        return Scored(*(part[self.waves == wave] for part in self))


@dataclass(frozen=True)
class Measured:
    """All that the gate needs of a hospital: numbers of two models on its test patients together."""

    difference: Spread  # AUROC of the candidate minus the predecessor's, paired by patient
    calibration: Spread  # the candidate's calibration error
    waves: dict[str, Spread]  # {number of a wave: the difference on it alone}; empty if there is one

    @property
    def sent(self) -> dict:
        """What a hospital elsewhere sends of it, as plain values.

        If a wave has fewer test patients than `FEWEST`, the waves' differences stay there, and their counts alone are
        sent: such a number says much of each of the few, and those of the others with that of all would tell it.
        """
        waves = self.waves
        if any(spread.patients < FEWEST for spread in waves.values()):
            waves = {wave: replace(spread, each=(), within=0.0, same=False) for wave, spread in waves.items()}
        return asdict(replace(self, waves=waves))

    @classmethod
    def read(cls, sent: Mapping) -> "Measured":
        """What `sent` is of. Raises KeyError, TypeError, ValueError or AttributeError if it has another form."""
        waves = {str(int(wave)): _spread(values) for wave, values in sent["waves"].items()}
        return cls(_spread(sent["difference"]), _spread(sent["calibration"]), waves)


def _spread(values: Mapping) -> Spread:
    spread = Spread(**values)
    each, within = tuple(map(float, spread.each)), float(spread.within)
    return replace(spread, each=each, within=within, patients=int(spread.patients), same=bool(spread.same))


def measure(hospital: str, tested: Scored, seed: int, replicates: int) -> Measured:
    """The numbers of a hospital by which its gate is judged; `seed` and `replicates` are those of the rules."""
    weights = patient_weights(tested.patients, replicates, stream(seed, "gate", hospital))
    waves = np.unique(tested.waves).tolist()
    return Measured(
        paired(*tested[:4]),
        calibrated(tested.labels, tested.patients, tested.candidate, weights),
        {str(wave): paired(*tested.of(wave)[:4]) for wave in waves * (len(waves) > 1)},
    )


def judge(measured: Mapping[str, Measured], rules: Rules, privacy: Mapping, known: str) -> pd.DataFrame:
    """The rows of `gate.csv` without `BELONGS`; `holds` is true or false, or empty on a row that is not judged.

    A hospital is judged on its test images of all waves. If there are several, a row for each says how it is on that
    wave alone, which shows whether old patients are forgotten.

    `measured` has each of `rules.hospitals`; `privacy` is what the candidate's record says of noise, empty without;
    `known` what is known of the predecessor's data.
    """
    rows = []
    for hospital in rules.hospitals:
        rows += _at(hospital, measured[hospital], rules)
    if rules.epsilon:
        rows.append(_spent(privacy, rules.epsilon))
    rows.append(_row("", KNOWN, (math.nan,) * 4, "", known))
    return pd.DataFrame(rows, columns=COLUMNS)


def _at(hospital: str, measured: Measured, rules: Rules) -> Iterator[tuple]:
    """The two rows of a hospital, and one for each wave if there are several."""
    value, people = measured.difference.interval(rules.confidence), measured.difference.patients
    held = noninferior(value, rules.margin)
    words = "is not inferior" if held else "is not shown to be not inferior"
    said = f"On the {people} test patients of {hospital} the AUROC is {_apart(value)}; it {words} by {rules.margin:g}."
    yield _row(hospital, DIFFERENCE, (value.estimate, value.low, value.high, -rules.margin), held, said)
    error = of_one(measured.calibration, rules.confidence)
    held = error.estimate <= rules.calibration
    words = "is at most" if held else "is above"
    said = f"On the {people} test patients of {hospital} the calibration error is {error.estimate:.3f}; that {words} "
    said += f"{rules.calibration:g}. The estimate counts, which errs to the large side where patients are few."
    yield _row(hospital, CALIBRATION, (error.estimate, error.low, error.high, rules.calibration), held, said)
    for wave, spread in measured.waves.items():
        numbers, said = (math.nan,) * 4, f"Of them {spread.patients} are of wave {wave}"
        if spread.each:
            value = spread.interval(rules.confidence)
            numbers = value.estimate, value.low, value.high, math.nan
            said += f": there the AUROC is {_apart(value)}."
        else:
            said += f"; what the AUROC is there stays at the hospital, because a wave has fewer than {FEWEST}."
        yield _row(hospital, f"{OF_WAVE}{wave}", numbers, "", said)


def _apart(value: Difference) -> str:
    """A difference in words."""
    if np.isnan(value.estimate):
        return "undefined, because a class is missing"
    interval = "no interval" if np.isnan(value.low) else f"{value.low:.3f} to {value.high:.3f}"
    if value.estimate == 0:
        return f"the predecessor's ({interval})"
    sense = "lower" if value.estimate < 0 else "higher"
    return f"{abs(value.estimate):.3f} {sense} than the predecessor's ({interval})"


def _spent(privacy: Mapping, bound: float) -> tuple:
    """The row of the privacy that the candidate's training spent; noise from a seed bounds nothing."""
    if not privacy or privacy["simulation"]:
        why = "its noise is from a seed, which protects from nobody who knows it" if privacy else "it has no noise"
        said = f"The model was trained with no bound on epsilon: {why}."
        return _row("", EPSILON, (math.nan, math.nan, math.nan, bound), False, said)
    value, held = privacy["epsilon"], privacy["epsilon"] <= bound
    said = f"Training spent an epsilon of {value:.3g} at a delta of {privacy['delta']:g}, "
    said += f"{'at most' if held else 'above'} {bound:g}. What a model that it began from had spent is not in it."
    return _row("", EPSILON, (value, math.nan, math.nan, bound), held, said)


def _row(hospital: str, what: str, numbers: tuple[float, float, float, float], holds: bool | str, said: str) -> tuple:
    return (hospital, what, *numbers, str(holds).lower(), said)


def known_of(lineage: Mapping, data: Mapping[str, Mapping], earlier: Mapping[str, list]) -> str:
    """What is known of whether a predecessor saw the test patients of now, by the checksums of its data.

    `lineage` is that of its card, empty if it has none; `data` is {hospital: checksums} of now, as `lineage["data"]`;
    `earlier` has those of the versions of a hospital's data before, to which new patients were added.
    """
    before = lineage.get("data", {})
    if not before:
        return "Nothing says on which data the predecessor was trained; it may have seen test patients of now."
    same = [site for site, checksums in data.items() if before.get(site) == checksums]
    fewer = [site for site in data if site not in same and before.get(site) in earlier.get(site, [])]
    others = [site for site in data if site not in (*same, *fewer)]
    parts = []
    if same:
        parts.append(
            f"The predecessor was trained on the same data and splits at {', '.join(same)}: it saw no test "
            "patient there."
        )
    if fewer:
        parts.append(
            f"At {', '.join(fewer)} the predecessor was trained on an earlier version of the data, whose patients have "
            "kept their splits: it saw no test patient there."
        )
    if others:
        parts.append(
            f"Its data at {', '.join(others)} were others than now; checksums cannot tell whether it saw test "
            "patients of now."
        )
    return " ".join(parts)


def earlier_of(registry: pd.DataFrame) -> dict[str, list[dict[str, str]]]:
    """{site: checksums of each version of its data before}, of the sites of a registry that has such."""
    if "earlier" not in registry:
        return {}
    return {site: json.loads(text) for site, text in zip(registry["site"], registry["earlier"], strict=True) if text}


def data_of(registry: pd.DataFrame, cohort: str, sites: Iterable[str]) -> dict[str, dict[str, str]]:
    """{site: SHA-256 of its images and of its table} of a cohort (empty where there is one), from the registry."""
    rows = registry[registry["cohort"] == cohort] if "cohort" in registry else registry
    by_site = rows.set_index("site")
    return {site: {key: str(by_site.at[site, column]) for key, column in CHECKSUMS.items()} for site in sites}


def read_gate(path: Path, rules: Rules) -> pd.DataFrame:
    """The rows of `gate.csv`, text but for the numbers. Raises UserError if they are not all that `rules` ask for."""
    numbers = dict.fromkeys(("value", "low", "high", "bound"), float)
    kinds = dict.fromkeys([*COLUMNS, *BELONGS], str) | numbers
    try:
        table = pd.read_csv(path, dtype=kinds, keep_default_na=False, na_values={key: [""] for key in numbers})
        table = table[[*COLUMNS, *BELONGS]]
    except FileNotFoundError as error:
        raise UserError(f"{path}: missing; set promotion.predecessor, and run the workflow") from error
    except (ValueError, KeyError) as error:
        raise UserError(f"{path}: not the table of a gate ({error}); run the workflow again") from error
    asked = [(hospital, what) for hospital in rules.hospitals for what in (DIFFERENCE, CALIBRATION)]
    asked += [("", EPSILON)] * bool(rules.epsilon) + [("", KNOWN)]
    told = table[~table["what"].str.startswith(OF_WAVE)]
    if list(zip(told["hospital"], told["what"], strict=True)) != asked or {*table["rules_sha256"]} != {rules.sha256}:
        raise UserError(f"{path}: not the gate of the rules beside it; run the workflow again")
    return table


def refusals(gate: pd.DataFrame) -> list[str]:
    """The sentences of what does not hold; empty if the gate is open."""
    judged = gate[gate["what"].isin([DIFFERENCE, CALIBRATION, EPSILON])]
    return list(judged["sentence"][judged["holds"] != "true"])
