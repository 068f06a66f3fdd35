"""Precision of several models in one process, and processors by what this process may use."""

import os
import subprocess
import sys

import pytest
import torch

from ser.runtime.device import device_told, make_accelerator
from ser.runtime.errors import UserError
from ser.runtime.processors import processors


def test_an_accelerator_keeps_its_precision_when_another_is_made():
    half = make_accelerator("bf16")
    whole = make_accelerator("fp32")
    assert (half.mixed_precision, whole.mixed_precision) == ("bf16", "no")
    layer = torch.nn.Linear(4, 4)
    with half.autocast():
        assert layer(torch.ones(1, 4)).dtype == torch.bfloat16
    with whole.autocast():
        assert layer(torch.ones(1, 4)).dtype == torch.float32


@pytest.mark.parametrize("wrong", ["bfloat16", "fp8", ""])
def test_a_precision_that_there_is_not_is_named_with_those_that_there_are(wrong):
    with pytest.raises(UserError, match=f"precision: given {wrong}; allowed: auto, fp32, bf16, fp16"):
        make_accelerator(wrong)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="affinity is Linux's")
def test_processors_are_those_of_the_affinity():
    core = min(os.sched_getaffinity(0))
    one = f"import os; os.sched_setaffinity(0, {{{core}}}); from ser.runtime.processors import processors; print(processors())"
    assert subprocess.run([sys.executable, "-c", one], capture_output=True, text=True, check=True).stdout.strip() == "1"
    assert 1 <= processors() <= len(os.sched_getaffinity(0))


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is found")
def test_a_run_tells_that_no_gpu_was_found():
    threads = torch.get_num_threads()
    told = "the CPU (1 thread): no GPU was found" if threads == 1 else f"the CPU ({threads} threads): no GPU was found"
    assert device_told("auto") == f"training in fp32 on {told}" and device_told("bf16") == f"training in bf16 on {told}"
    with pytest.raises(UserError, match="given half; allowed: auto, fp32, bf16, fp16"):
        device_told("half")
