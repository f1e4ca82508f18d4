"""Startup kits: what is in them, who may read them, and what changes when a site comes, goes or is renewed."""

import os
import re
import shutil
import stat
from datetime import UTC, datetime, timedelta

import pytest
import yaml
from helpers.log import heard

from fedxray.core.errors import UserError
from fedxray.core.files import read_json, sha256, write_json
from fedxray.flare.certificates import certificate_of, expiring, fingerprint
from fedxray.flare.kits import ADMIN, SERVER, check_kits, place_store, provision, render_project
from fedxray.flare.own import OwnFile


def make(folder, sites, renew=(), **options):
    render_project("config/project.yml", sites, folder / "project.yml", **options)
    provision(folder / "project.yml", folder, renew)
    return folder


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return make(tmp_path_factory.mktemp("kits"), ["us"], host="fl.example.org", port=8443, valid_days=90)


def files(folder):
    return {path: sha256(path) for path in (folder / "kits").rglob("*") if path.is_file()}


def test_keys_are_private_and_a_kit_has_one(one):
    keys = list((one / "kits").rglob("*.key"))
    assert len(keys) == 3
    for path in (*keys, *(one / "state").rglob("cert.json")):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    for folder in (one / "state", one / "kits", one / "kits" / "us"):
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700


def test_a_job_brings_no_code_and_no_shell_and_a_sites_log_stays_there(one):
    policies = list((one / "kits").rglob("authorization.json"))
    assert len(policies) == 2
    for policy in policies:
        for rights in read_json(policy)["permissions"].values():
            assert (rights["byoc"], rights["shell_commands"]) == ("none", "none")
    resources = read_json(one / "kits" / "us" / "local" / "resources.json")
    assert "fedxray.flare.site.SiteTrainer" in resources["class_allow_list"]
    assert resources["allow_log_streaming"] is False


def test_the_server_is_where_the_project_says_for_as_long_as_it_says(one):
    config = read_json(one / "kits" / "us" / "startup" / "fed_client.json")
    assert config["servers"][0]["service"]["target"] == "fl.example.org:8443"
    own = certificate_of(one / "kits" / "us")
    assert own.not_valid_after_utc - own.not_valid_before_utc == timedelta(days=90)
    facts = read_json(one / "kits.json")
    assert {name: fact["type"] for name, fact in facts.items()} == {
        "us": "client",
        "fl.example.org": "server",
        ADMIN: "admin",
    }
    assert facts["us"]["certificate_sha256"] == fingerprint(own)


def test_a_site_comes_and_goes_and_no_other_kit_changes_but_for_the_lists_of_who_there_is(tmp_path):
    make(tmp_path, ["us", "europe"])
    admitted = tmp_path / "kits" / SERVER / "local" / "admitted.json"
    before, first = files(tmp_path), read_json(admitted)
    assert set(first) == {"us", "europe", ADMIN}
    make(tmp_path, ["us", "europe", "asia"])
    after = files(tmp_path)
    partners = {tmp_path / "kits" / site / "local" / "partners.json" for site in ("us", "europe", "asia")}
    assert {path for path in before if after[path] != before[path]} == {admitted, *(partners & before.keys())}
    certificates = {site: fingerprint(certificate_of(tmp_path / "kits" / site)) for site in ("us", "europe", "asia")}
    assert [read_json(path) for path in partners] == [certificates] * 3
    assert {stat.S_IMODE(os.stat(path).st_mode) for path in partners} == {0o600}
    assert read_json(admitted).items() > first.items()
    make(tmp_path, ["us"])
    assert not (tmp_path / "kits" / "europe").exists()
    assert set(read_json(admitted)) == {"us", ADMIN}
    with pytest.raises(UserError, match="no startup kit for europe"):
        check_kits(tmp_path, ["us", "europe"])
    make(tmp_path, ["us", "europe"])
    again = read_json(admitted)
    assert again["us"] == first["us"]
    assert again["europe"] != first["europe"]  # whoever kept the old kit stays out


def test_a_kit_of_an_earlier_version_gets_the_names_that_our_components_have_now(tmp_path):
    make(tmp_path, ["us"])
    paths = [tmp_path / "kits" / name / "local" / "resources.json" for name in ("us", SERVER)]
    now = [read_json(path) for path in paths]
    for path, resources in zip(paths, now, strict=True):
        before = path.read_text().replace("fedxray.flare.", "fedxray.federation.")
        path.write_text(before)
        mine = {"id": "mine", "path": "hospital.Watch", "args": {}}
        write_json(path, read_json(path) | {"components": [*read_json(path)["components"], mine]})
        resources["components"].append(mine)
    make(tmp_path, ["us"])
    assert [read_json(path) for path in paths] == now
    launchers = [component for component in now[0]["components"] if component["id"] == "process_launcher"]
    assert [launcher["path"] for launcher in launchers] == ["fedxray.flare.launcher.ClientLauncher"]
    write_json(paths[0], read_json(paths[0]) | {"components": [{"id": "process_launcher", "path": "hospital.Slurm"}]})
    make(tmp_path, ["us"])
    assert read_json(paths[0])["components"] == [{"id": "process_launcher", "path": "hospital.Slurm"}]


def test_renewal_changes_key_and_certificate_of_those_named_and_nothing_else(tmp_path):
    make(tmp_path, ["us", "europe"])
    OwnFile(tmp_path / "kits" / "us").write(data="/data/us")
    resources = tmp_path / "kits" / SERVER / "local" / "resources.json"
    write_json(resources, read_json(resources) | {"ours": 1})
    before, root = files(tmp_path), read_json(next((tmp_path / "state").rglob("cert.json")))["root_cert"]
    make(tmp_path, ["us", "europe"], renew=("us", SERVER))
    after = files(tmp_path)
    changed = {str(path.relative_to(tmp_path / "kits")) for path in before if after[path] != before[path]}
    names = {f"us/startup/client.{kind}" for kind in ("crt", "key")}
    names |= {f"{SERVER}/startup/server.{kind}" for kind in ("crt", "key")}
    lists = {f"{SERVER}/local/admitted.json", *(f"{site}/local/partners.json" for site in ("us", "europe"))}
    assert changed == names | lists
    assert read_json(next((tmp_path / "state").rglob("cert.json")))["root_cert"] == root
    assert stat.S_IMODE(os.stat(tmp_path / "kits" / "us" / "startup" / "client.key").st_mode) == 0o600
    with pytest.raises(UserError, match="no participant mars"):
        make(tmp_path, ["us", "europe"], renew=("mars",))


def test_an_old_root_stays_whatever_the_project_says_and_no_certificate_outlives_it(tmp_path):
    render_project("config/project.yml", ["us"], tmp_path / "project.yml")
    project = yaml.safe_load((tmp_path / "project.yml").read_text())
    project["builders"][2]["args"]["root_valid_days"] = 20
    (tmp_path / "project.yml").write_text(yaml.safe_dump(project))
    provision(tmp_path / "project.yml", tmp_path)
    root = sha256(tmp_path / "kits" / "us" / "startup" / "rootCA.pem")
    make(tmp_path, ["us", "asia"])
    assert sha256(tmp_path / "kits" / "us" / "startup" / "rootCA.pem") == root
    assert certificate_of(tmp_path / "kits" / "asia").not_valid_after_utc < datetime.now(UTC) + timedelta(days=20)


def test_a_lost_root_key_makes_all_kits_anew(tmp_path):
    make(tmp_path, ["us"])
    before = sha256(tmp_path / "kits" / "us" / "startup" / "rootCA.pem")
    for path in (tmp_path / "state").rglob("cert.json"):
        path.unlink()
    make(tmp_path, ["us"])
    roots = {sha256(path) for path in (tmp_path / "kits").rglob("rootCA.pem")}
    assert len(roots) == 1
    assert before not in roots


def test_a_server_keeps_its_jobs_in_its_own_kit(one, tmp_path):
    kit = shutil.copytree(one / "kits" / "fl.example.org", tmp_path / "server")
    assert "/tmp/nvflare" in (kit / "local" / "resources.json").read_text()
    place_store(kit)
    text = (kit / "local" / "resources.json").read_text()
    assert "/tmp/nvflare" not in text
    assert text.count(str(kit / "store")) == 2


def test_certificates_that_end_soon_are_warned_of_and_ended_ones_refused(tmp_path):
    now = datetime(2030, 1, 1, tzinfo=UTC)
    ends = {"a": now + timedelta(days=29.5), "b": now + timedelta(days=31), "c": now - timedelta(hours=1)}
    facts = {name: {"not_after": end.isoformat()} for name, end in ends.items()}
    assert expiring(facts, now=now) == {"c": -1, "a": 29}
    manifest = {name: {"not_after": (datetime.now(UTC) + timedelta(days=300)).isoformat()} for name in (SERVER, ADMIN)}
    for name in (SERVER, ADMIN, "us"):
        (tmp_path / "kits" / name).mkdir(parents=True)
    for days, said in ((31.5, ""), (10.5, f"kits/us: certificate ends in 10 days.*fedxray-server renew {tmp_path} us")):
        manifest["us"] = {"not_after": (datetime.now(UTC) + timedelta(days=days)).isoformat()}
        write_json(tmp_path / "kits.json", manifest)
        with heard() as lines:
            check_kits(tmp_path, ["us"])
        assert bool(lines.warnings) == bool(said)
        assert re.search(said, "".join(lines.warnings))
    manifest["us"] = {"not_after": (datetime.now(UTC) - timedelta(seconds=5)).isoformat()}
    write_json(tmp_path / "kits.json", manifest)
    with pytest.raises(UserError, match=r"certificate ended.*fedxray-server renew"):
        check_kits(tmp_path, ["us"])
