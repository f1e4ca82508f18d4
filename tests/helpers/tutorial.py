"""Follows a page of docs/tutorials as its reader does: each command in its turn, and none is left out."""

import re
import shutil
import subprocess
from pathlib import Path

import yaml
from helpers.workflow import ENVIRONMENT, REPOSITORY, copy_repository
from snakemake.utils import update_config

PAGES = REPOSITORY / "docs" / "tutorials"


def blocks_of(text):
    """[(heading of its section, language, text)] of the fenced blocks of a page."""
    blocks = []
    for section in re.split(r"^## ", text, flags=re.MULTILINE):
        heading = section.partition("\n")[0]
        blocks += [(heading, *block) for block in re.findall(r"(?ms)^```(\w+)\n(.*?)^```$", section)]
    return blocks


class Reader:
    """A reader of a page who is in a folder, with environment variables. `blocks` are those that are not done yet.

    `replaced` is {what the page says: what is said here in its place}, such as an address, or the size of an
    experiment; it is an error if the page no longer says it.
    """

    def __init__(self, page, folder, replaced=None, environment=ENVIRONMENT):
        text = (PAGES / page).read_text()
        for old, new in (replaced or {}).items():
            assert old in text, f"{page} no longer says {old!r}"
            text = text.replace(old, str(new))
        self.blocks, self.folder, self.environment = blocks_of(text), folder, environment

    def take(self, heading):
        """Take the next block of this section, a command that the test runs in its own way; returns it."""
        block = next(block for block in self.blocks if block[0] == heading)
        assert block[1] == "sh", block[2]
        self.blocks.remove(block)
        return block[2]

    def read(self, *headings):
        """Run the commands of the sections of these headings, or all that are left; returns all that they printed.

        What the page shows must be among what was printed, with any numbers; `...` stands for anything.
        """
        chosen = [block for block in self.blocks if not headings or block[0] in headings]
        assert chosen, headings
        printed = ""
        for block in chosen:
            self.blocks.remove(block)
            if block[1] == "sh":
                printed += self.run(block[2])
            else:
                assert_shown(block[2], printed)
        return printed

    def run(self, block):
        """Run a block by bash in the folder where the one before has ended; returns what it printed."""
        done = subprocess.run(
            ["bash", "-c", f"set -e\n{block}\npwd"],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, f"{block}{done.stdout[-3000:]}"
        *lines, folder = done.stdout.splitlines()
        self.folder = Path(folder)
        return "\n".join([*lines, ""])


def checkout(folder, sizes=None):
    """A copy of the repository whose environment is made already; `sizes` is a file of other values as the defaults."""
    copy_repository(folder)
    for name in ("Makefile", "pyproject.toml", "requirements.txt"):
        shutil.copy(REPOSITORY / name, folder / name)
    for name in ("bin/activate", "ready"):
        (folder / ".venv" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / ".venv" / name).touch()
    if sizes:
        path = folder / "config" / "config.yaml"
        config, smaller = (yaml.safe_load(file.read_text()) for file in (path, sizes))
        update_config(config, smaller)
        ordered = {key: config[key] for key in (*smaller, *config)}  # as with this file as --configfile
        path.write_text(yaml.safe_dump(ordered, sort_keys=False))
    return folder


def assert_shown(shown, printed):
    """Assert that each line that a page shows is one of those that were printed."""
    for line in shown.splitlines():
        parts = re.split(r"(\.\.\.|[-+]?\d+(?:\.\d+)?| +)", line)
        any_of = {".": ".*", " ": " +"}
        for number in range(1, len(parts), 2):
            parts[number] = any_of.get(parts[number][0], r"[-+]?\d+(?:\.\d+)?")
        pattern = "".join(part if number % 2 else re.escape(part) for number, part in enumerate(parts))
        assert re.search(f"^{pattern}$", printed, re.MULTILINE), f"{line!r} was not printed: {printed[-3000:]}"
