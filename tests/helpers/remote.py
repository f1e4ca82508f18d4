"""Runs of the workflow's scripts on a network of machines (`helpers.network`), and the model that they should leave."""

import contextlib
import subprocess
import time
from dataclasses import replace

import psutil
from helpers.data import make_settings
from helpers.federation import make_method, rounds_of
from helpers.network import wait_until

from fedxray.core.files import sha256
from fedxray.core.parameters import save_model
from fedxray.data.registry import write_registry
from fedxray.data.site import wave_count
from fedxray.experiment.privacy import Privacy
from fedxray.federation.inprocess import InProcess
from fedxray.flare.own import card_of

SITES = ["us", "europe", "asia"]
WAITS = {"--start-timeout-s": "120", "--round-timeout-s": "3600", "--patience-s": "600", "--poll-s": "0.5"}
NONE = Privacy("none", 3.0, 1e-5, 0.1, 2.0, 20, 6, 1, "seeded")
EVERYONE = {"--absent": "fail", "--min-sites": "0"}


class Run:
    """A script of the workflow that runs on its own machine, and what it prints."""

    def __init__(self, machines, script, output, options, sites=SITES):
        self.log = output.parent / f"{output.name}-{time.monotonic_ns()}.log"
        argv = [f"scripts/{script}.py", "--admin-kit", machines.kit("workflow"), "--sites", *sites]
        argv += [word for option in (WAITS | options).items() for word in option]
        with self.log.open("wb") as log:
            self.process = machines.run(argv, stdout=log, stderr=subprocess.STDOUT)

    def said(self):
        return self.log.read_text()

    def wait_for(self, text, timeout_s=300):
        wait_until(lambda: text in self.said() or self.process.poll() is not None, timeout_s, text)
        assert text in self.said(), self.said()

    def end(self, timeout_s=300):
        code = self.process.wait(timeout_s)
        return code, self.said()


def settings_of(epochs):
    return make_settings(image_size=16, epochs=epochs)


def in_words(settings):
    """{option: word} of the settings of a run, or of its method or privacy."""
    words = settings.options()
    return dict(zip(words[::2], words[1::2], strict=True))


def registry(machines):
    """registry.csv of the data that the machines have, which a run insists on."""
    path = machines.folder / "registry.csv"
    if not path.exists():
        folders = {"shared" if name == "server" else name: folder for name, folder in machines.data.items()}
        cards = {name: card_of(folder) for name, folder in folders.items()}
        write_registry(path, cards | {"stranger": cards["us"]}, 16, "stretch", wave_count(cards["us"]))
    return path


def model_before(machines):
    """A model's file, for a run to begin with: of one round, of another learning rate."""
    path = machines.folder / "before.safetensors"
    engine = InProcess({site: machines.data[site] for site in SITES}, machines.data["server"])
    save_model(path, engine.train(make_settings(image_size=16, lr=0.1), make_method(), rounds_of(1)).parameters)
    return path


def train(machines, output, rounds, passes, options=None, method=None, privacy=NONE, initial=None, **more):
    """Start a federated run of `rounds` of so many passes over a site's data; `options` replace the usual ones.

    It begins with the model in the file `initial`, or with random weights.
    """
    method = method or make_method()
    words = EVERYONE | in_words(settings_of(rounds * passes + method.finetune)) | in_words(method) | in_words(privacy)
    words |= options or {}
    words |= {"--registry": registry(machines), "--round": str(passes), "--steps": "0", "--budget": "passes"}
    words |= {"--initial": initial} if initial else {}
    return Run(machines, "train_remote", output, words | {"--output": output / "model.safetensors"}, **more)


def expected(machines, rounds, passes, path, method=None, initial=None):
    """The SHA-256 of the model that a federation in one process leaves at `path`, and of each site's own beside it.

    It begins as `train`.
    """
    method = method or make_method()
    engine = InProcess({site: machines.data[site] for site in SITES}, machines.data["server"], initial=initial)
    schedule = rounds_of(rounds, float(passes), method.finetune)
    settings = replace(settings_of(schedule.epochs), initial=sha256(initial) if initial else "")
    trained = engine.train(settings, method, schedule)
    save_model(path, trained.parameters)
    for site, own in trained.personal.items():
        save_model(path.with_name(f"{path.name}-{site}"), own.parameters)
    return sha256(path)


def restart_server(machines, run):
    """Kill the server while a run needs it, and start it again when the run has seen that it is gone."""
    machines.kill("server")
    run.wait_for("the server does not answer")
    machines.start("server")


def workers(machines):
    """(site, process id) of the processes of jobs at the sites, which the idle clients start and end."""
    jobs = []
    for site in SITES:
        for pid in machines.network.pids(site):
            with contextlib.suppress(psutil.Error):  # it has ended meanwhile
                if any("worker_process" in word for word in psutil.Process(pid).cmdline()):
                    jobs.append((site, pid))
    return jobs


def checkpoints(machines):
    """The checkpoints that the server keeps; a test before may have left one, of a run that failed."""
    return set((machines.kit("server") / "checkpoints").glob("*"))
