"""What the hospital's operator sees of what jobs have spent, and allows."""

import functools
import re

import pytest
from helpers.data import png, write_images
from helpers.operators import fedxray_site, unpack

from fedxray.core.errors import UserError
from fedxray.core.files import read_json
from fedxray.data.labels import CLASSES
from fedxray.data.site import waves_of
from fedxray.flare.budget import Budget, Limits, Spending
from fedxray.flare.own import OwnFile
from fedxray.operators.checks import check_site


@pytest.fixture
def prepare(organiser, tmp_path, monkeypatch, capsys):
    """(folder of the unpacked archive, a function that runs `fedxray-site prepare` there)."""
    folder = unpack(organiser, "us", tmp_path)

    return folder, functools.partial(fedxray_site, monkeypatch, capsys, "prepare", "--folder", folder)


def test_new_patients_are_added_and_the_kit_then_has_the_new_data_set(prepare, tmp_path):
    (folder, call), own = prepare, OwnFile(prepare[0] / "kit")
    one, two = (
        write_images(tmp_path / name, [f"{CLASSES[n % 2]}/{name}{n}.png" for n in range(30)]) for name in ("a", "b")
    )
    for number, path in enumerate(sorted(two.rglob("*.png"))):
        path.write_bytes(png(1000 + number))
    assert "missing" in call("--add", two, "--patient", "image")[0]
    assert call(one, "--patient", "image", "--own-validation", "0.2", "--seed", "4")[0] == 0
    first = (folder / "data" / "card.json").read_bytes()
    assert call("--add", two, "--patient", "image", "--seed", "4")[0] == (
        "error: --seed: new patients are split as before; leave it out"
    )
    assert call("--add", two, "--patient", "image", "--shared", two)[0] == (
        "error: --shared: the validation set stays that of before; leave it out, or prepare all images again with this "
        "one, without --add"
    )
    assert call("--add", two, "--patient", "image", "--wave", "2")[0].startswith(
        "error: --wave 2: new patients are the "
    )
    assert own.data == folder / "data"
    code, said = call("--add", two, "--patient", "image")
    assert code == 0
    assert "wave 2: 30 new patients, 0 patients who come again" in " ".join(said)
    assert any(re.match(r"wave 2 +\d+ train \(0 patients again\), \d+ validation", line) for line in said)
    assert said[-1].endswith("data-2: what the next job gets; tell the organiser that there is a further wave")
    assert own.data == folder / "data-2"
    assert (folder / "data" / "card.json").read_bytes() == first
    assert set(waves_of(own.load(read_json(folder / "data-2" / "card.json")["sha256"]).table)) == {1, 2}
    assert call("--add", two, "--patient", "image")[0].endswith(
        "; each is in an earlier wave too: give its own images alone"
    )
    assert own.data == folder / "data-2"
    assert not (folder / "data-3").exists()


def test_a_site_refuses_a_job_of_another_wave_and_says_what_to_do(prepare, tmp_path):
    folder, call = prepare
    images = write_images(tmp_path / "a", [f"{CLASSES[n % 2]}/{n}.png" for n in range(60)])
    later = [path for path in sorted(images.rglob("*.png")) if int(path.stem) >= 30]
    for path in later:
        (tmp_path / "b" / path.parent.name).mkdir(parents=True, exist_ok=True)
        path.rename(tmp_path / "b" / path.parent.name / path.name)
    call(images, "--patient", "image", "--own-validation", "0.2")
    call("--add", tmp_path / "b", "--patient", "image")
    one, two = (read_json(folder / name / "card.json")["sha256"] for name in ("data", "data-2"))
    own = OwnFile(folder / "kit")
    with pytest.raises(UserError, match=r"data-2: a later version of .* \(set federation.waves to 2; if it is that, t"):
        own.load(one)
    assert own.load(two | {"waves": 2}).name == "us"
    own.write(data=folder / "data")
    said = r"data: the job is for 2 waves of patients, and this data set has 1; add .*fedxray-site prepare --add\), t"
    with pytest.raises(UserError, match=said):
        own.load(two | {"waves": 2})
    with pytest.raises(UserError, match="changed since the registry was made"):
        own.load(one | {"images": "0" * 64})


@pytest.fixture
def run(hospital, monkeypatch, capsys):
    """A function that runs `fedxray-site budget` with words; returns (0 or the error, lines that it printed)."""
    return functools.partial(fedxray_site, monkeypatch, capsys, "budget", "--folder", hospital)


def job(name, sigma, **changed):
    row = {"dp": "sum", "secret": True, "unit": "patient", "sigma": sigma, "rate": 0.1, "delta": 1e-6, "colluders": 1}
    return Spending(**{"job": name * 64, "steps": 100} | row | changed)


def test_at_first_nothing_is_spent_and_everything_is_allowed(run):
    code, said = run()
    assert code == 0
    assert said == [
        "spent: nothing",
        "budget: none, so every job is answered, with noise or without (--epsilon E --delta D sets one)",
        "masks: federated training without secure aggregation is answered too (--only-masked refuses it)",
    ]


def test_what_jobs_have_spent_is_told_by_job_and_together_with_what_is_left(run, hospital):
    budget = Budget(hospital / "kit")
    budget.charge(job("a", 2.0), True, 100, 0)
    budget.charge(job("b", 1.5, dp="sites", colluders=0), False, 40, 60)
    code, said = run("--epsilon", "8", "--delta", "1e-5")
    assert code == 0
    assert re.match(r"job +since +noise +unit +sigma +rate +steps +epsilon$", said[0])
    assert re.match(r"a{12} +\d{4}-\d\d-\d\d +sum, 1 may collude +patient +2 +0\.1000 +100 of 100 +2\.\d\d$", said[1])
    assert re.match(r"b{12} +\d{4}-\d\d-\d\d +sites +patient +1\.5 +0\.1000 +40 of 100 +2\.\d\d$", said[2])
    spent = float(re.match(r"spent: epsilon (\S+) at delta 1e-05 by all jobs together$", said[3])[1])
    left = float(re.match(r"budget: epsilon 8 at delta 1e-05; (\S+) is left$", said[4])[1])
    each = [float(line.split()[-1]) for line in said[1:3]]
    assert max(each) < spent < sum(each)
    assert spent + left == pytest.approx(8, abs=0.02)
    assert budget.limits == Limits(8.0, 1e-5, False)
    assert run()[1] == said


def test_what_has_no_bound_is_infinite(run, hospital):
    budget = Budget(hospital / "kit")
    budget.charge(Spending.of("d" * 64, None), False, 12, 0)
    assert run()[1][2] == "spent: epsilon infinite by all jobs together"
    budget.charge(job("c", 2.0, secret=False), True, 100, 0)
    _, said = run("--epsilon", "8", "--delta", "1e-5")
    assert re.match(r"d{12} +\S+ +none +12 +infinite$", said[1])
    assert re.match(r"c{12} +\S+ +sum, 1 may collude, seeded .* infinite$", said[2])
    assert said[3] == "spent: epsilon infinite at delta 1e-05 by all jobs together"
    assert said[4] == "budget: epsilon 8 at delta 1e-05; 0 is left"


def test_limits_stay_until_they_are_changed_and_the_checks_tell_them(run, hospital):
    budget = Budget(hospital / "kit")
    run("--only-masked")
    run("--epsilon", "3", "--delta", "1e-6")
    assert budget.limits == Limits(3.0, 1e-6, True)
    told = next(check for check in check_site(hospital) if check.name == "privacy")
    assert told.passed
    assert told.text == (
        "budget: epsilon 3 at delta 1e-06; 3 is left; masks: federated training without secure aggregation is refused"
    )
    run("--unlimited")
    assert budget.limits == Limits(None, None, True)
    run("--no-only-masked")
    assert budget.limits == Limits()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--epsilon", "8"], "a budget is an epsilon at a delta; give both"),
        (["--delta", "1e-5"], "a budget is an epsilon at a delta; give both"),
        (["--epsilon", "0", "--delta", "1e-5"], "--epsilon 0: not above 0"),
        (["--epsilon", "nan", "--delta", "1e-5"], "--epsilon nan: not above 0"),
        (["--epsilon", "8", "--delta", "1e-12"], "--delta 1e-12: not from 1e-9 to 1"),
        (["--epsilon", "8", "--delta", "0.05"], "--delta 0.05: not below 1/24, the training patients here"),
    ],
)
def test_a_budget_that_means_nothing_is_refused(run, hospital, words, said):
    code, lines = run(*words)
    assert code.startswith(f"error: {said}")
    assert not lines
    assert not Budget(hospital / "kit").path.exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"data": ', "no JSON (Expecting value"),
        ('{"data": 5}', "not a path for each name"),
        ("[]", "not a path for each name"),
        ("{}", "missing, or without data"),
        ('{"data": "/nowhere"}', "/nowhere/card.json: missing"),
    ],
)
def test_a_slip_in_the_file_that_is_written_by_hand_is_one_line(run, hospital, text, said):
    own = OwnFile(hospital / "kit")
    own.path.write_text(text)
    code, _ = run("--epsilon", "8", "--delta", "1e-5")
    assert code.startswith(f"error: {said if said[0] == '/' else f'{own.path}: {said}'}")
    assert "\n" not in code
    assert own.without_places(f"{own.kit}: of no use") == "kit: of no use"
