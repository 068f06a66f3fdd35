"""One thread per process (the tests' networks are tiny, and two threads that wait for each other are slower than one), no tracking."""

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["WANDB_MODE"] = "disabled"

import torch

torch.set_num_threads(1)
