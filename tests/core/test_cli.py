import os
import re
import subprocess
import sys

import pytest

SLOW = "import time; from fedxray.core import cli; cli.run(lambda _: (print('begun'), time.sleep(20)), cli.parser(''))"


def test_each_line_is_said_at_once_to_a_pipe_too():
    environment = os.environ | {"PYTHONPATH": os.getcwd(), "PYTHONUNBUFFERED": ""}
    process = subprocess.Popen([sys.executable, "-c", SLOW], env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begun\n"
    assert process.poll() is None
    process.terminate()
    assert process.wait(10) == 130


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("OSError(28, 'No space left on device')", "no space left on the disk; free some, and run it again"),
        ("OSError(122, 'Disk quota exceeded', '/a/b')", "/a/b: no space left on the disk for this user .quota.; .*"),
        ("PermissionError(13, 'Permission denied', '/a')", "/a: permission denied; let this user read and write it.*"),
        ("RuntimeError('writing /a: No space left on device')", "no space left on the disk; .*"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="numbers of errors are the system's")
def test_an_error_of_the_disk_is_one_line(error, said):
    code = f"from fedxray.core import cli\ndef main(_): raise {error}\ncli.run(main, cli.parser(''))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert re.fullmatch(f"error: {said}\n", done.stderr), done.stderr


@pytest.mark.parametrize("error", ["PermissionError(1, 'Operation not permitted')", "FileNotFoundError(2, 'x', '/a')"])
def test_any_other_error_keeps_its_traceback(error):
    code = f"from fedxray.core import cli\ndef main(_): raise {error}\ncli.run(main, cli.parser(''))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "Traceback" in done.stderr


def test_a_name_that_the_terminal_cannot_show_is_printed_by_its_bytes():
    code = "from fedxray.core import cli; cli.run(lambda _: print('caf\\udce9 \\u00e9'), cli.parser(''))"
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "caf\\udce9 \\xe9\n")


SWALLOWED = """
import time
from fedxray.core import cli
def main(_):
    try:
        print("begun")
        time.sleep(20)
    except:
        print(cli.interrupted())
print(cli.interrupted())
cli.run(main, cli.parser(""))
"""


def test_an_interruption_that_other_code_swallows_is_remembered():
    process = subprocess.Popen([sys.executable, "-u", "-c", SWALLOWED], stdout=subprocess.PIPE, text=True)
    assert [process.stdout.readline() for _ in range(2)] == ["False\n", "begun\n"]
    process.terminate()
    assert process.communicate(timeout=10)[0] == "True\n"
