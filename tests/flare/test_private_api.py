"""Whether the installed NVFlare is as this package assumes; a failure says which assumption of which file broke."""

import ast
import importlib
import inspect
from pathlib import Path

import pytest

from fedxray.flare import admission, certificates, launcher, server, site, store
from fedxray.flare.components import ADMISSION, ALLOWED, IN_PLACE_OF
from fedxray.flare.kits import _provision, render_project
from fedxray.flare.private_api import ASSUMPTIONS, KIT_FILES, Assumption, Exists, Has, Is, KitFile, Says, Takes

PUBLIC = ("nvflare.apis.", "nvflare.app_common.abstract.", "nvflare.app_common.utils.", "nvflare.app_common.workflows.")
PUBLIC += ("nvflare.fuel.flare_api",)
OURS = [path for room in ("flare", "operators") for path in sorted(Path("fedxray", room).glob("*.py"))]
NAMED = {f"{one.module}.{one.name}".rstrip(".") for one in ASSUMPTIONS}


@pytest.fixture(scope="module")
def kits(tmp_path_factory):
    """{kind: kit} as NVFlare provisions it, before this package touches it; and of `state` the folder."""
    folder = tmp_path_factory.mktemp("kits")
    render_project("config/project.yml", ["us"], folder / "project.yml")
    made = _provision(folder / "project.yml", folder / "state")
    kinds = {"server": made / "localhost", "client": made / "us", "admin": made / "admin@fedxray.org"}
    return kinds | {"state": made.parent / "state"}


@pytest.mark.parametrize(
    "assumption", ASSUMPTIONS, ids=lambda one: f"{one.file}-{one.module.split('.')[-1]}.{one.name}"
)
def test_nvflare_is_as_assumed(assumption):
    assert not assumption.fault()


@pytest.mark.parametrize("kit_file", KIT_FILES, ids=lambda one: f"{one.file}-{one.kind}-{one.path}")
def test_a_startup_kit_is_as_assumed(kits, kit_file):
    assert not kit_file.fault(kits[kit_file.kind])


def test_a_fault_says_what_broke_and_in_which_file_of_ours(kits):
    module = "nvflare.fuel.f3.mpm"
    for name, claim, said in (
        (
            "MainProcessMonitor.start",
            Exists(),
            "fedxray/a.py relies on nvflare.fuel.f3.mpm.MainProcessMonitor.start, which is gone",
        ),
        ("MainProcessMonitor.name", Is("mpm"), "name, which is 'MPM' and not 'mpm'"),
        ("MainProcessMonitor.run", Takes("run_dir", "main_func"), "run, which takes ['main_func', 'run_dir'"),
        ("MainProcessMonitor", Has("name", "grace"), "MainProcessMonitor, which has no grace"),
        ("", Says("Good Bye!", "Hello"), "mpm, which no longer has ['Hello']"),
    ):
        assert said in Assumption("a.py", module, name, claim).fault()
    assert "nvflare.none, which is gone" in Assumption("a.py", "nvflare.none", "", Exists()).fault()
    keys = ("admin.port", "admin.door", "admin.port.0")
    said = KitFile("a.py", "admin", "startup/fed_admin.json", keys).fault(kits["admin"])
    assert (
        said
        == "fedxray/a.py relies on startup/fed_admin.json in the admin's kit, which has no admin.door, admin.port.0"
    )
    assert "which is gone" in KitFile("a.py", "client", "startup/none").fault(kits["client"])


@pytest.mark.parametrize("path", OURS, ids=str)
def test_every_import_from_inside_nvflare_is_in_the_list(path):
    assumed = {(one.module, one.name.split(".")[0]) for one in ASSUMPTIONS if f"fedxray/{one.file}" == path.as_posix()}
    for node in ast.walk(ast.parse(path.read_text())):
        if (
            isinstance(node, ast.ImportFrom)
            and node.module.startswith("nvflare")
            and not node.module.startswith(PUBLIC)
        ):
            assert {(node.module, alias.name) for alias in node.names} <= assumed


@pytest.mark.parametrize("path", OURS, ids=str)
def test_every_part_of_nvflare_that_is_called_by_name_is_there(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if path.name != "private_api.py" and isinstance(node, ast.Constant) and str(node.value).startswith("nvflare."):
            module, _, name = node.value.rpartition(".")
            if name[:1].isupper():
                assert hasattr(importlib.import_module(module), name)
            else:
                importlib.import_module(node.value)


@pytest.mark.parametrize(
    "module", [admission, certificates, launcher, server, site, store], ids=lambda one: one.__name__
)
def test_every_inner_method_that_ours_takes_the_place_of_is_in_the_list(module):
    for ours in (one for _, one in inspect.getmembers(module, inspect.isclass) if one.__module__ == module.__name__):
        for base in (base for base in ours.__mro__ if base.__module__.startswith("nvflare")):
            for name in vars(ours).keys() & vars(base).keys():
                if name.startswith("_") and not name.startswith("__") and callable(vars(ours)[name]):
                    assert f"{base.__module__}.{base.__name__}.{name}" in NAMED


@pytest.mark.parametrize("path", [*ALLOWED, *IN_PLACE_OF.values(), ADMISSION])
def test_every_component_of_ours_has_its_name(path):
    module, _, name = path.rpartition(".")
    assert inspect.isclass(getattr(importlib.import_module(module), name))


def test_every_component_whose_place_ours_takes_is_in_a_kit(kits):
    paths = "".join((kits[kind] / "local" / "resources.json.default").read_text() for kind in ("server", "client"))
    assert all(path in paths for path in IN_PLACE_OF)
    assert "/tmp/nvflare" in paths  # the place of the store, which ours moves
    assert (kits["state"] / "cert.json").exists()


def test_no_file_of_a_kit_is_signed_so_that_a_copy_may_be_aimed_at_another_port(kits):
    assert not [path for kind in ("server", "client", "admin") for path in kits[kind].rglob("signature.json")]


def test_a_line_of_a_log_has_the_form_that_errors_and_news_are_found_by(kits):
    for kind in ("server", "client"):
        text = (kits[kind] / "local" / "log_config.json.default").read_text()
        assert "%(asctime)s - %(name)s - %(levelname)s - %(fl_ctx)s - %(message)s" in text
        assert '"error_log.txt"' in text


def test_grpc_says_why_a_caller_did_not_get_in():
    library = next(Path(importlib.import_module("grpc._cython.cygrpc").__file__).parent.glob("cygrpc*"))
    assert b"Handshake failed with error " in library.read_bytes()  # fedxray/operators/process.py: NEWS
