"""Runs the unit tests that compute, with other kernels of the processor: `make kernels`.

A library picks its kernels by the instructions that the processor has. These variables make the libraries pick those of
older processors. So a test that holds only for this processor's bits fails here, and not on another machine.
OPENBLAS_CORETYPE is not among them, because NumPy's OpenBLAS computes no result that is compared.
"""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

KERNELS = {
    "without AVX": {
        "ATEN_CPU_CAPABILITY": "default",  # PyTorch's own
        "ONEDNN_MAX_CPU_ISA": "SSE41",  # oneDNN's convolutions
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",  # MKL's matrix products, on Intel's processors
        "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",  # NumPy's loops
    },
    "with AVX2, not Intel's": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_CBWR": "COMPATIBLE",  # what MKL computes on any processor
        "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
    },
}
TESTS = ["tests/analysis", "tests/federation", "tests/training"]


def run(processor: str) -> tuple[bool, str]:
    """Run the tests in another process, as on one of `KERNELS`; returns whether they passed, and the text to print."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", "unit", *TESTS]
    done = subprocess.run(
        command, env=os.environ | KERNELS[processor], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    lines = done.stdout.strip().splitlines()
    ending = "\n".join(lines[-1:] if done.returncode == 0 else lines)
    return done.returncode == 0, f"{processor}, {time.perf_counter() - start:.0f} s: {ending}"


def main() -> None:
    """Run the tests with all kernels at once, and exit with 1 if any failed."""
    with ThreadPoolExecutor() as pool:
        results = []
        for passed, words in pool.map(run, KERNELS):
            print(words, flush=True)
            results.append(passed)
    print(f"\n{sum(results)} passed, {len(results) - sum(results)} failed")
    sys.exit(not all(results))


if __name__ == "__main__":
    main()
