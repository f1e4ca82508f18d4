"""Secure aggregation that survives absent sites: the server and the sites of a job, as NVFlare calls them."""

import subprocess
import sys
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest
from helpers.data import make_settings, make_sites
from helpers.federation import make_method, plain_loop, rounds_of, same
from helpers.secure import Authority, identities, write_kit
from nvflare.apis.fl_constant import ReturnCode
from nvflare.app_common.utils.fl_model_utils import FLModelUtils

from fedxray.core.errors import UserError
from fedxray.core.files import read_json
from fedxray.data.site import load_site
from fedxray.experiment.experiment import POOLED
from fedxray.federation.policy import Policy
from fedxray.federation.records import images_of
from fedxray.federation.rounds import ServerRounds
from fedxray.flare.own import OwnFile
from fedxray.flare.partners import agree, agree_round
from fedxray.flare.server import FederationController
from fedxray.flare.site import SiteTrainer
from fedxray.flare.tasks import ADVERTISE, KEYS, REVEAL, SAID, SHARE, TRAIN, VOUCH, WHY
from fedxray.training.mechanism import Mechanism

SETTINGS, KEY = make_settings(image_size=16), "a" * 64
IMAGES = {"us": 24, "europe": 40, "asia": 10, "africa": 18}
SITES = list(IMAGES)
SCHEDULE = rounds_of(4, 0.5)


@pytest.fixture(scope="module")
def known():
    return identities(Authority(), SITES)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """{site: its directory of data}, of sites that differ in size, and of `shared`."""
    root = tmp_path_factory.mktemp("sites")
    made = {
        site: make_sites(root / site, images=images, seed=seed)["us"]
        for seed, (site, images) in enumerate(IMAGES.items())
    }
    return made | {"shared": root / "us" / "shared"}


class Site:
    """The process of a site in one job, which has the kit `kit`."""

    def __init__(self, name, kit, folder, method, job):
        OwnFile(kit).write(data=folder)
        workspace = SimpleNamespace(get_root_dir=lambda: str(kit))
        engine = SimpleNamespace(get_workspace=lambda: workspace, send_aux_request=lambda *of, **more: None)
        self.context = SimpleNamespace(
            get_engine=lambda: engine, get_identity_name=lambda: name, get_job_id=lambda: job
        )
        parts = asdict(SETTINGS), asdict(method), asdict(SCHEDULE)
        self.trainer = SiteTrainer(*parts, {}, {}, KEY, SITES, own=False)
        self.trainer.log_exception = lambda *of: None

    def ask(self, task_name, task):
        return self.trainer.execute(task_name, FLModelUtils.to_shareable(task), self.context, None)


class Server(FederationController):
    """A server that asks processes of sites; of (task, round from 0, site) in `lost` no answer arrives."""

    def __init__(self, sites, method, lost=(), job="1", least=3):
        policy = asdict(Policy(5, "drop", least))
        super().__init__(asdict(SETTINGS), asdict(method), asdict(SCHEDULE), list(sites), policy, {}, KEY, "", {})
        self.processes, self.lost, self.seen, self.unplugged = sites, set(lost), [], set()
        self.fl_ctx = SimpleNamespace(get_job_id=lambda: job)

    @property
    def connected(self):
        return set(self.processes) - self.unplugged

    def ask(self, task_name, task, absent=None):
        absent, answers = dict(absent or {}), {}
        for site in self.processes:
            if site in absent:
                continue
            answer = self.processes[site].ask(task_name, task)
            self.seen.append((task_name, task.current_round, site, answer))
            if (task_name, task.current_round, site) in self.lost:
                absent[site] = "no answer in 5 s"
            elif answer.get_return_code() != ReturnCode.OK:
                absent[site] = answer.get_header(WHY)
            else:
                answers[site] = FLModelUtils.from_shareable(answer)
        if len(answers) < self.participants.needed:
            raise RuntimeError("; ".join(f"no result from {site}: {why}" for site, why in sorted(absent.items())))
        return answers, absent

    def go(self, rounds, numbers):
        for number in numbers:
            self.records.append(self._surviving_round(rounds, number))
        return rounds.parameters


@pytest.fixture
def federation(folders, known, tmp_path):
    """`made(method, lost, ...)`: a server and sites of a new job; the sites' kits stay the same."""
    for site in SITES:
        write_kit(tmp_path / site, known[site])

    def made(method, lost=(), job="1", **more):
        sites = {site: Site(site, tmp_path / site, folders[site], method, job) for site in SITES}
        return Server(sites, method, lost, job, **more)

    return made


def rounds(folders, method):
    return ServerRounds(SETTINGS, method, SCHEDULE, load_site(folders["shared"]).part("validation"))


def plain(folders, method, absent=()):
    data = {site: folders[site] for site in SITES}
    method = replace(method, secure_aggregation=False)
    return plain_loop(data, folders["shared"], SETTINGS, method, SCHEDULE, lambda *of: of in absent)[0]


METHODS = [
    make_method(moments="averaged", secure_aggregation=True),
    make_method(name="scaffold", moments="kept", precision="float16", secure_aggregation=True),
]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.slug)
def test_the_model_is_that_of_the_plain_loop_without_the_same_sites_in_the_same_rounds(folders, federation, method):
    lost = [(TRAIN, 0, "asia"), (SHARE, 1, "us"), (ADVERTISE, 2, "africa"), (VOUCH, 3, "us")]
    server = federation(method, [*lost])
    model = server.go(rounds(folders, method), range(4))
    absent = {(0, "asia"), (1, "us"), (2, "africa")}
    assert {(record["round"] - 1, site) for record in server.records for site in record["absent"]} == absent
    assert {why for record in server.records for why in record["absent"].values()} == {"no answer in 5 s"}
    assert same(model, plain(folders, method, absent))
    assert not same(model, plain(folders, method))
    totals = [record["images"] for record in server.records]
    assert totals == [{POOLED: 92 - IMAGES.get(site, 0)} for site in ("asia", "us", "africa", "")]
    assert images_of(server.records) == 92
    for record in server.records:
        assert sorted([*record["sites"], *record["absent"]]) == sorted(SITES)
        assert (record["distances"], [*record["sites"].values()]) == ({}, [[]] * len(record["sites"]))
    for answer in (answer for task, _, _, answer in server.seen if task == TRAIN):  # nothing but words
        told = FLModelUtils.from_shareable(answer)
        assert not {"rows", "train_loss"} & set(told.meta)
        assert {array.dtype.name for array in told.params.values()} == {"uint64"}


def keys_of(server):
    """The public keys that passed a server."""
    said = [FLModelUtils.from_shareable(answer).meta.get(SAID) for _, _, _, answer in server.seen]
    adverts = [one.get("advert", one) for one in said if one]
    return {advert["public"] for advert in adverts if "public" in advert}


def test_sites_get_ready_for_the_next_round_while_the_last_one_is_opened(folders, federation):
    method = METHODS[0]
    server = federation(method, [(VOUCH, 1, "asia"), (REVEAL, 2, "us")])
    model = server.go(rounds(folders, method), range(4))
    asked = [(task, number) for task, number, site, _ in server.seen if site == "europe"]
    before = [[ADVERTISE, SHARE], [], [ADVERTISE, SHARE], [ADVERTISE, SHARE]]
    assert asked == [(task, number) for number in range(4) for task in [*before[number], TRAIN, VOUCH, REVEAL]]
    assert all(record["absent"] == {} for record in server.records)  # all have answered
    assert same(model, plain(folders, method))
    again = federation(replace(method, name="fedprox"), [(VOUCH, 0, "asia")], job="2")
    again.unplugged = {"asia"}  # for as long as it is not there, nobody gets ready again for it
    again.lost |= {(TRAIN, number, "asia") for number in range(4)}
    again.go(rounds(folders, method), range(3))
    assert [task for task, _, site, _ in again.seen if site == "europe"].count(ADVERTISE) == 1
    assert [list(record["absent"]) for record in again.records] == [["asia"]] * 3
    again.unplugged = set()
    again.go(rounds(folders, method), [3])
    assert [task for task, _, site, _ in again.seen if site == "europe"].count(ADVERTISE) == 2


def test_a_job_that_goes_on_has_new_keys_and_gives_the_same_model(folders, federation, tmp_path):
    method = METHODS[1]
    server, kept = federation(method, {(TRAIN, 1, "asia")}), rounds(folders, method)
    server.go(kept, range(2))
    again, fresh = federation(method, job="2"), rounds(folders, method)
    fresh.parameters, fresh.state = kept.parameters, kept.state  # as from a checkpoint
    again.records = list(server.records)
    model = again.go(fresh, (2, 3))
    assert same(model, plain(folders, method, {(1, "asia")}))
    assert not keys_of(server) & keys_of(again)
    (path,) = (tmp_path / "us" / "summed").iterdir()
    without = sorted(site for site in SITES if site != "asia")
    assert read_json(path) == {str(number): without if number == 1 else sorted(SITES) for number in range(4)}
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_the_same_round_is_summed_for_one_set_of_sites_alone(folders, federation):
    method = METHODS[0]
    federation(method).go(rounds(folders, method), [0])
    federation(method, job="2").go(rounds(folders, method), [0])  # the same sum again
    with pytest.raises(
        RuntimeError, match=r"no result from .*/summed/.*: this site was in a sum of round 1 of the same"
    ):
        federation(method, [(TRAIN, 0, "asia")], job="3").go(rounds(folders, method), [0])


def test_a_server_that_sends_one_site_another_model_learns_no_sum(folders, federation):
    """As it would to know that site's part: a model at which the others answer nothing (Pasquini et al. 2022)."""
    method = METHODS[0]
    server = federation(method)
    asked = server.processes["asia"].ask

    def lie(task_name, task):
        if task_name == TRAIN:
            task = server._task({name: 0 * array for name, array in task.params.items()}, 0, {SAID: task.meta[SAID]})
        return asked(task_name, task)

    server.processes["asia"].ask = lie
    with pytest.raises(UserError, match="the answers' masks do not cancel out"):
        server.go(rounds(folders, method), [0])


def test_a_site_refuses_what_no_honest_server_asks(folders, federation):
    method = METHODS[0]
    server = federation(method, [(TRAIN, 0, "asia")])
    server.go(rounds(folders, method), [0])
    us = server.processes["us"]

    def why(task_name, said=None, number=0, of=us):
        answer = of.ask(task_name, server._task(rounds(folders, method).send(), number, {SAID: said}))
        assert answer.get_return_code() == ReturnCode.EXECUTION_EXCEPTION
        return answer.get_header(WHY)

    assert why(ADVERTISE) == "secure aggregation: round 1 has begun already in this job; run the job again"
    for task_name, said in ((SHARE, {}), (VOUCH, SITES), (REVEAL, {"signatures": {}}), (TRAIN, {})):
        assert "round 1 came twice, or out of turn" in why(task_name, said)
        assert (
            why(task_name, said, number=2) == "secure aggregation: this site has no keys of round 3; run the job again"
        )
    for task_name, said in ((SHARE, {}), (VOUCH, SITES), (REVEAL, {"signatures": {}})):  # of a round that comes next
        assert "round 2 came twice, or out of turn" in why(task_name, said, number=1)
    assert why(SHARE, None) == "secure aggregation: the server has sent no keys; is its fedxray another version?"
    assert "or another federation.absent" in why(KEYS)  # the sum of all would show what one who was absent adds
    new = federation(method, job="2").processes["us"]
    assert "no keys, because this process is not the job's first" in why(TRAIN, of=new)
    assert "has none" in why(ADVERTISE, of=federation(replace(method, secure_aggregation=False)).processes["us"])
    us.trainer.noise = Mechanism("sum", 1.0, 0.1, 4, 0.1, 3.0, 1e-5, 92, 92, 4, 1, "patient", secret=True)
    assert "refuses noise in a sum that may lack sites" in why(ADVERTISE, number=3)


def test_too_few_sites_end_a_round_with_who_is_absent_and_why(folders, federation):
    method, lost = METHODS[0], [(SHARE, 0, "asia"), (VOUCH, 0, "us")]
    with pytest.raises(
        RuntimeError, match=r"^no result from asia: no answer in 5 s; no result from us: no answer in 5"
    ):
        federation(method, lost).go(rounds(folders, method), [0])
    server = federation(method, lost[:1], job="2", least=2)
    server.lost.add((TRAIN, 0, "us"))  # a server that would take fewer than the sites do
    with pytest.raises(RuntimeError, match=r"no result from europe: .*africa, europe have answered; at least 3 of"):
        server.go(rounds(folders, method), [0])


def test_a_training_is_answered_by_one_protocol_alone(tmp_path):
    content, partners = [{"seed": 1}], {"us": "1", "asia": "2"}
    agree(tmp_path, content, partners)
    agree(tmp_path, content, partners)
    with pytest.raises(UserError, match=r"or another federation\.absent"):
        agree(tmp_path, content, partners, survives=True)
    agree(tmp_path, [{"seed": 2}], partners, survives=True)
    with pytest.raises(UserError, match=r"or another federation\.absent"):
        agree(tmp_path, [{"seed": 2}], partners)
    agree_round(tmp_path, content, 0, ["asia", "us"])
    agree_round(tmp_path, content, 1, ["us"])
    agree_round(tmp_path, content, 0, ["asia", "us"])
    agree_round(tmp_path, [{"seed": 3}], 0, ["us"])
    with pytest.raises(UserError, match="in a sum of round 2 of the same training"):
        agree_round(tmp_path, content, 1, ["asia", "us"])


@pytest.mark.parametrize("call", ["agree(kit, [{'seed': n}], {'us': '1'})", "agree_round(kit, [{}], n, ['us'])"])
def test_jobs_that_note_at_once_lose_nothing(tmp_path, call):
    """Each job is a process of its own, and a kit runs four."""
    program = "import pathlib, sys\nfrom fedxray.flare.partners import agree, agree_round\nkit, first = pathlib.Path("
    program += f"sys.argv[1]), int(sys.argv[2])\nsys.stdin.read()\nfor n in range(first, first + 20):\n    {call}\n"
    words = [sys.executable, "-c", program, tmp_path]
    jobs = [subprocess.Popen([*words, str(100 * number)], stdin=subprocess.PIPE) for number in range(3)]
    for job in jobs:
        job.stdin.close()
    assert [job.wait(100) for job in jobs] == [0, 0, 0]
    (path,) = [path for path in tmp_path.rglob("*.json")]
    assert len(read_json(path)) == 60
