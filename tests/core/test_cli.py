import os
import subprocess
import sys

SLOW = "import time; from fedxray.core import cli; cli.run(lambda _: (print('begun'), time.sleep(20)), cli.parser(''))"


def test_each_line_is_said_at_once_to_a_pipe_too():
    environment = os.environ | {"PYTHONPATH": os.getcwd(), "PYTHONUNBUFFERED": ""}
    process = subprocess.Popen([sys.executable, "-c", SLOW], env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begun\n"
    assert process.poll() is None
    process.terminate()
    assert process.wait(10) == 130
