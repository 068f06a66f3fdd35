"""From frames to one vector a clip: means, deviations and attentive statistics over the clip's own frames."""

from __future__ import annotations

import torch
from torch import nn


def mean_over_time(frames: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """(B, T, D) and a boolean mask (B, T), true for real frames -> (B, D) in float32."""
    if mask is None:
        return frames.float().mean(dim=1)
    weights = mask.unsqueeze(-1).float()
    return (frames.float() * weights).sum(dim=1) / weights.sum(dim=1)


def deviation_over_time(frames: torch.Tensor, mean: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """The standard deviation that belongs to `mean_over_time`."""
    return mean_over_time((frames.float() - mean.unsqueeze(1)) ** 2, mask).clamp(min=1e-10).sqrt()


class AttentiveStatistics(nn.Module):
    """Weighted mean and standard deviation over time, the weights learned from the frames.

    Okabe, Koshinaka, Shinoda 2018, "Attentive Statistics Pooling for Deep Speaker Embedding" (arXiv 1803.10963).
    """

    def __init__(self, size: int, hidden: int = 128):
        super().__init__()
        self.score = nn.Sequential(nn.Linear(size, hidden), nn.Tanh(), nn.Linear(hidden, 1))

    def forward(self, frames: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """(B, T, D) and a boolean mask (B, T), true for real frames -> (B, 2 D)."""
        scores = self.score(frames).squeeze(-1).float()
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        weights = scores.softmax(dim=-1).unsqueeze(-1)
        frames = frames.float()
        mean = (weights * frames).sum(dim=1)
        variance = (weights * (frames - mean.unsqueeze(1)) ** 2).sum(dim=1)
        return torch.cat([mean, variance.clamp(min=1e-6).sqrt()], dim=-1)
