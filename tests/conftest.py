"""One thread per process: the tests' networks are tiny, and two threads that wait for each other are slower than one."""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import torch

torch.set_num_threads(1)
