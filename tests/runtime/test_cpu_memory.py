"""Memory of a process that predicts on a CPU: it doesn't grow with the lengths it has seen."""

import os
import subprocess
import sys

import pytest
import torch

CLIPS = """
import sys, torch
from ser.runtime.device import make_accelerator
if sys.argv[1] == "settled":
    make_accelerator("fp32")
torch.set_num_threads(1)
convolution, megabytes = torch.nn.Conv1d(256, 256, 3, 2), lambda: int(open("/proc/self/statm").read().split()[1]) * 4 / 1024
with torch.no_grad():
    for length in range(200, 900):
        convolution(torch.randn(1, 256, length))
        before = megabytes() if length == 350 else before if length > 350 else 0
print(megabytes() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux") or torch.cuda.is_available(), reason="of Linux on a CPU")
def test_a_process_does_not_grow_with_the_lengths_of_its_clips():
    """Fault: 120 requests of as many lengths took a process that predicts with wav2vec2-base from 0.5 to 2.5 GB."""
    own = {key: value for key, value in os.environ.items() if key != "ONEDNN_PRIMITIVE_CACHE_CAPACITY"}
    grown = {
        way: float(subprocess.run([sys.executable, "-c", CLIPS, way], env=own, capture_output=True, text=True, check=True).stdout)
        for way in ("as it comes", "settled")
    }
    assert grown["settled"] < 60 and grown["settled"] < grown["as it comes"] / 2


def test_what_the_user_set_stays(monkeypatch):
    from ser.runtime.cpu_memory import settle_cpu_memory

    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "7")
    settle_cpu_memory()
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "7"
