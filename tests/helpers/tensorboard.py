"""TensorBoard on a folder, as a process of its own."""

import contextlib
import re
import subprocess
import sys


@contextlib.contextmanager
def served(folder):
    """The address of a TensorBoard that shows `folder` until the end."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", folder, "--port", "0", "--load_fast", "false"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        yield next(found[0] for line in process.stderr if (found := re.search(r"http://\S+/", line)))
    finally:
        process.terminate()
        process.communicate(timeout=20)
