"""What a site lets a job spend, and what it remembers of it: computed by the site, whatever the job says."""

import math
import threading
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest
from helpers.data import make_settings
from helpers.federation import make_method, rounds_of, same
from nvflare.apis.fl_constant import ReturnCode
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.utils.fl_model_utils import FLModelUtils

from fedxray.core.errors import UserError
from fedxray.core.files import read_json, write_json
from fedxray.data.site import load_site
from fedxray.experiment.privacy import Privacy
from fedxray.federation.policy import Schedule, sampled
from fedxray.flare.budget import Budget, Limits, Spending, check_noise, epsilon_of
from fedxray.flare.own import OwnFile
from fedxray.flare.site import SiteTrainer
from fedxray.flare.tasks import ADVERTISE, KEYS, LAST, TRAIN, WHY
from fedxray.training.accountant import epsilon
from fedxray.training.mechanism import mechanism_at
from fedxray.training.models import build, get_parameters

SETTINGS = make_settings(image_size=16, optimizer="sgd", lr=2.0, weight_decay=0.0)
PRIVACY = Privacy("sites", 3.0, 1e-5, 0.1, 2.0, 20, 6, 0, "secret")
KEY, DELTA = "a" * 64, 1e-5
SITES = ["us", "europe", "asia"]


def gaussian(job, sigma, **changed):
    """A job of one step that draws every patient: a Gaussian mechanism."""
    return replace(Spending(job, "sites", True, "patient", sigma, 1.0, DELTA, 0, 1), **changed)


def closed_form(mu):
    """The exact epsilon at DELTA of Gaussian mechanisms whose 1/sigma^2 add up to mu^2 (Balle & Wang 2018)."""
    low, high = 0.0, 100.0
    for _ in range(100):
        middle = (low + high) / 2
        normal = [0.5 * math.erfc((middle / mu + sign * mu / 2) / math.sqrt(2)) for sign in (-1, 1)]
        low, high = (middle, high) if normal[0] - math.exp(middle) * normal[1] > DELTA else (low, middle)
    return high


@pytest.fixture
def budget(tmp_path):
    (tmp_path / "kit" / "local").mkdir(parents=True)
    return Budget(tmp_path / "kit")


def test_jobs_together_cost_what_the_closed_form_says_and_a_job_without_a_bound_has_none(budget):
    assert epsilon_of(budget.spent, DELTA) == 0.0
    budget.charge(gaussian("a", 2.0), False, 1, 0)
    budget.charge(gaussian("b", 3.0), False, 1, 0)
    budget.charge(gaussian("c", 2.0), True, 1, 0)
    exact = closed_form(math.sqrt(2 / 4 + 1 / 9))
    assert exact <= epsilon_of(budget.spent, DELTA) <= exact + 1e-2
    assert [(row.job, row.answered) for row in budget.spent] == [("a", 1), ("b", 1), ("c", 1)]
    assert budget.ledger.stat().st_mode & 0o777 == 0o600
    for further in (Spending.of("d", None), gaussian("e", 2.0, secret=False), gaussian("f", 0.1)):
        assert epsilon_of([*budget.spent, further], DELTA) < math.inf  # nothing was answered yet
        assert epsilon_of([*budget.spent, replace(further, answered=1)], DELTA) == math.inf


def test_a_job_that_would_exceed_the_budget_is_refused_with_what_is_left_and_nothing_is_entered(budget):
    budget.limits = Limits(closed_form(0.6) + 0.01, DELTA)
    assert budget.path.stat().st_mode & 0o777 == 0o600
    budget.charge(gaussian("a", 2.0), False, 1, 0)
    budget.charge(gaussian("b", 4.0), False, 1, 0)  # 1/4 + 1/16 < 0.36
    before = budget.ledger.read_bytes()
    said = (
        r"allows epsilon 2\.45\d* at delta 1e-05; 2\.26 is spent, 0\.19\d is left, and with this job .* 2\.85; .*budget"
    )
    for ask in (lambda job: budget.check(job, True), lambda job: budget.charge(job, True, 1, 0)):
        with pytest.raises(UserError, match=said) as error:
            ask(gaussian("c", 2.5))
        assert "\n" not in str(error.value)
    assert budget.ledger.read_bytes() == before
    budget.charge(gaussian("c", 20.0), False, 1, 0)
    with pytest.raises(UserError, match="would be 2"):  # the whole job counts, and not its first step alone
        budget.check(gaussian("d", 20.0, steps=40), False)
    with pytest.raises(UserError, match="would be 2"):
        budget.charge(gaussian("d", 20.0, steps=40), False, 1, 39)


def test_a_job_that_goes_on_fits_and_a_round_that_is_asked_again_counts_again(budget):
    job = gaussian("a", 10.0, steps=100)
    budget.limits = Limits(closed_form(math.sqrt(102 / 100)) + 0.01, DELTA)
    for number in range(50):
        budget.charge(job, False, 1, 99 - number)
    budget.check(job, False)  # as a process does that begins in the middle
    budget.charge(job, False, 1, 50)  # round 50 once more, whose answer was lost
    assert budget.spent[0].answered == 51
    budget.charge(job, False, 1, 50)
    with pytest.raises(UserError, match="is left"):
        budget.charge(job, False, 1, 50)
    assert budget.spent[0].answered == 52


def test_what_has_no_bound_is_refused_where_there_is_a_budget_and_remembered_where_there_is_none(budget):
    for job in (Spending.of("a", None), gaussian("b", 2.0, secret=False)):
        budget.check(job, False)
        budget.charge(job, False, 7, 0)
    assert epsilon_of(budget.spent, DELTA) == math.inf
    budget.ledger.unlink()
    budget.limits = Limits(50.0, DELTA)
    for job, why in ((Spending.of("a", None), "it has no noise"), (gaussian("b", 2.0, secret=False), "is seeded")):
        for ask in (budget.check, lambda job, masked: budget.charge(job, masked, 1, 0)):
            with pytest.raises(
                UserError, match=f"allows epsilon 50 at delta 1e-05, and nothing bounds .*{why}.*secret"
            ):
                ask(job, True)
    assert not budget.ledger.exists()


@pytest.mark.parametrize(
    "text",
    [
        '{"epsilon": 8}',
        '{"epsilon": 8, "delta": null}',
        '{"epsilon": NaN, "delta": 1e-5}',
        '{"epsilon": "8", "delta": 1e-5}',
        '{"epsilon": -1, "delta": 1e-5}',
        '{"only_masked": "no"}',
        '{"eps": 8, "delta": 1e-5}',
        '{"epsilon": 8, "delta": 1e-',
        "8",
    ],
)
def test_a_budget_that_was_written_by_hand_and_means_nothing_lets_no_job_through(budget, text):
    budget.path.write_text(text)
    with pytest.raises(UserError, match=r"budget\.json: no budget; remove it, and set the budget again"):
        budget.check(gaussian("a", 2.0), True)


@pytest.mark.parametrize("text", ['{"jobs": [{"job": "a"', "{}", '{"jobs": [{"job": "a"}]}'])
def test_a_ledger_that_is_damaged_lets_no_job_through(budget, text):
    budget.ledger.write_text(text)
    with pytest.raises(UserError, match=r"spent\.json: no ledger, so that nobody knows what is spent"):
        budget.charge(gaussian("a", 2.0), True, 1, 0)
    assert budget.ledger.read_text() == text


def test_an_operator_may_want_masks(budget):
    budget.limits = Limits(only_masked=True)
    budget.check(gaussian("a", 2.0), True)
    budget.check(Spending.of("b", None), True)
    with pytest.raises(UserError, match=r"only with secure aggregation.*secure_aggregation: true"):
        budget.check(gaussian("a", 2.0), False)


def test_a_key_that_names_another_job_has_a_row_of_its_own(budget):
    """The key comes from the server, so that it is no proof that the noise is the same."""
    budget.charge(gaussian("a", 3.0), False, 1, 0)
    budget.charge(gaussian("a", 1.0), False, 1, 0)
    assert [(row.sigma, row.answered) for row in budget.spent] == [(3.0, 1), (1.0, 1)]


def test_jobs_at_once_forget_nothing(budget):
    def charge(job):
        for _ in range(20):
            Budget(budget.folder.parent).charge(gaussian(job, 9.0), False, 1, 0)

    threads = [threading.Thread(target=charge, args=(job,)) for job in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted((row.job, row.answered) for row in budget.spent) == [("a", 20), ("b", 20), ("c", 20)]


@pytest.fixture(scope="module")
def us(site_folders):
    return site_folders["us"]


def noise_of(site_folders, **changed):
    return mechanism_at(replace(PRIVACY, **changed), site_folders.values())


def test_noise_that_is_what_it_says_is_taken(site_folders, us):
    data, method = load_site(us), make_method(secure_aggregation=True)
    for place in ("sites", "sum"):
        noise = noise_of(site_folders, dp=place, colluders=1)
        check_noise(noise, method, sampled(6, noise.rate, 1), SITES, data, True)
    alone = noise_of(site_folders)
    check_noise(alone, make_method(), sampled(6, alone.rate, 2), ["us"], data, True)
    check_noise(replace(alone, unit="image"), make_method(), sampled(6, alone.rate, 2), ["us"], data, False)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"method": {"secure_aggregation": False}}, "a sum without masks; set privacy.secure_aggregation: true"),
        ({"method": {"name": "scaffold"}}, r"scaffold\+secure, of which not all is private"),
        ({"method": {"finetune": 2}}, r"finetuned\+secure, of which not all is private"),
        ({"sites": 5}, "noise of 5 sites and 1 colluders among 3"),
        ({"colluders": 2}, "noise of 3 sites and 2 colluders among 3"),
        ({"steps": 5}, "6 steps, with noise for 5"),
        ({"schedule": rounds_of(6)}, "6 steps, with noise for 6"),  # at one batch a pass
        ({"schedule": replace(sampled(6, 0.5, 1), tail=1)}, "7 steps, with noise for 6"),
        ({"schedule": Schedule(60, 0.5, 0.1, 0)}, "60 rounds of 6 steps in a sum; each step is a round"),
        ({"clip": 1e-9}, "clip: 1e-09"),
        ({"clip": math.nan}, "clip: nan"),
        ({"patients": 23}, "23 patients and 72 images of all sites, but here alone are 24 and 24"),
        ({"images": 23}, "72 patients and 23 images of all sites"),
        ({"delta": 1 / 24}, "delta: 0.0416667, but here are 24 training patients"),
        ({"known": False}, "the unit patient, but nobody knows"),
        ({"sigma": 0.1}, "no epsilon for sigma 0.1"),
        ({"sigma": math.nan}, "no epsilon for sigma nan"),
        ({"rate": 1.0}, r"said to give epsilon 3 and gives \d"),
        ({"epsilon": 2.5}, r"said to give epsilon 2\.5 and gives 3"),
        ({"sigma": 0.7}, r"said to give epsilon 3 and gives \d"),
    ],
)
def test_noise_that_is_not_what_it_says_is_refused(site_folders, us, changed, said):
    noise = noise_of(site_folders, dp="sum", colluders=1)
    noise = replace(noise, epsilon=3.0)
    schedule = changed.pop("schedule", sampled(6, noise.rate, 1))
    method = make_method(**{"secure_aggregation": True} | changed.pop("method", {}))
    known = changed.pop("known", True)
    with pytest.raises(UserError, match=rf"^privacy: this site .*{said}"):
        check_noise(replace(noise, **changed), method, schedule, SITES, load_site(us), known)


class Process:
    """A process of the site `us`, with the kit `kit`, that trains for the job KEY."""

    def __init__(self, kit, folder, noise=None, method=None, sites=("us",)):
        OwnFile(kit).write(data=folder)
        workspace = SimpleNamespace(get_root_dir=lambda: str(kit))
        engine = SimpleNamespace(get_workspace=lambda: workspace, send_aux_request=lambda *of, **more: None)
        self.context = SimpleNamespace(get_engine=lambda: engine, get_identity_name=lambda: "us")
        schedule = sampled(6, noise.rate, 3) if noise else rounds_of(2)
        parts = asdict(SETTINGS), asdict(method or make_method()), asdict(schedule)
        self.trainer = SiteTrainer(*parts, asdict(noise) if noise else {}, {}, KEY, list(sites), own=False)
        self.trainer.log_exception = lambda *of: None

    def ask(self, task, number=0):
        model = FLModel(ParamsType.FULL, get_parameters(build(SETTINGS)), current_round=number, meta={LAST: {}})
        return self.trainer.execute(task, FLModelUtils.to_shareable(model), self.context, None)

    def train(self, number):
        return FLModelUtils.from_shareable(self.ask(TRAIN, number)).params


def test_a_site_enters_what_it_answers_and_secret_noise_is_new_each_time(site_folders, us, tmp_path):
    noise = noise_of(site_folders)
    process, budget = Process(tmp_path, us, noise), Budget(tmp_path)
    budget.limits = Limits(20.0, DELTA)
    first = process.train(0)
    assert [(row.dp, row.answered, row.steps) for row in budget.spent] == [("sites", 3, 6)]
    assert not same(first, process.train(0))
    assert not same(first, Process(tmp_path, us, noise).train(0))
    assert budget.spent[0].answered == 9
    assert epsilon_of(budget.spent, DELTA) == epsilon(noise.sigma, noise.rate, 9, DELTA) > noise.epsilon


def test_plain_training_is_entered_as_without_a_bound(us, tmp_path):
    process, budget = Process(tmp_path, us), Budget(tmp_path)
    process.train(0)
    process.train(1)
    assert [(row.dp, row.answered) for row in budget.spent] == [("none", 4)]  # 24 images are two batches
    assert epsilon_of(budget.spent, DELTA) == math.inf


@pytest.mark.parametrize("task", [TRAIN, KEYS])
def test_a_job_that_is_not_allowed_ends_in_one_line_before_anything_is_trained(
    site_folders, us, tmp_path, task, monkeypatch
):
    monkeypatch.setattr("fedxray.federation.rounds.SiteRounds.train", lambda *of: pytest.fail("it was trained"))
    budget = Budget(tmp_path)
    budget.folder.mkdir()
    budget.limits = Limits(2.0, DELTA)
    seeded, secure = noise_of(site_folders, noise="seeded"), make_method(secure_aggregation=True)
    for noise, said in (
        (None, "it has no noise"),
        (seeded, "seeded"),
        (noise_of(site_folders), "0 is spent, 2 is left"),
    ):
        answer = Process(tmp_path, us, noise, secure).ask(task)
        assert answer.get_return_code() == ReturnCode.EXECUTION_EXCEPTION
        assert answer.get_header(WHY).startswith("privacy: this site's operator allows epsilon 2 at delta 1e-05")
        assert said in answer.get_header(WHY)
    budget.limits = Limits(only_masked=True)
    assert "only with secure aggregation" in Process(tmp_path, us, seeded).ask(task).get_header(WHY)
    assert not budget.ledger.exists()


def test_noise_in_a_sum_that_may_lack_sites_is_refused(site_folders, us, tmp_path):
    """A job of the protocol that survives absent sites, whose server sends its first step."""
    noise, secure = noise_of(site_folders, dp="sum", colluders=1), make_method(secure_aggregation=True)
    process = Process(tmp_path, us, noise, secure, SITES)
    process.trainer.schedule = sampled(6, noise.rate, 1)
    assert "set federation.absent: fail" in process.ask(ADVERTISE).get_header(WHY)
    assert not Budget(tmp_path).ledger.exists()


def test_a_ledger_that_grows_while_a_job_runs_counts(site_folders, us, tmp_path):
    noise = noise_of(site_folders)
    process, budget = Process(tmp_path, us, noise), Budget(tmp_path)
    budget.limits = Limits(noise.epsilon + 0.01, DELTA)
    process.train(0)
    rows = read_json(budget.ledger)["jobs"]
    write_json(budget.ledger, {"jobs": [*rows, asdict(gaussian("other", 2.0, answered=1))]})
    assert "is left, and with this job it would be" in process.ask(TRAIN, 1).get_header(WHY)
    assert budget.spent[0].answered == 3
