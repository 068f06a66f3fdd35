"""Attentive statistics pooling and the head built on it."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


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


class AttentiveHead(nn.Module):
    """Hidden states of an encoder -> logits: layer weights (optional), projection, attentive statistics, classifier."""

    def __init__(self, hidden_size: int, labels: int, layers: int | None, dropout: float = 0.0, projection: int = 256):
        super().__init__()
        # Zeros become equal weights in the softmax: training starts from the plain mean of the layers.
        self.layer_weights = nn.Parameter(torch.zeros(layers)) if layers else None
        self.projector = nn.Linear(hidden_size, projection)
        self.pooling = AttentiveStatistics(projection)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(2 * projection, labels)

    def forward(self, hidden_states: tuple[torch.Tensor, ...], mask: torch.Tensor | None = None) -> torch.Tensor:
        """Hidden states, each (B, T, D), and a boolean mask (B, T) -> logits (B, labels).

        With layer weights every layer counts, normalised first, since the late layers of pre-norm encoders are many times
        larger than the early ones; without them only the last one given is used.
        """
        if self.layer_weights is None:
            frames = hidden_states[-1]
        else:
            weights = self.layer_weights.softmax(dim=-1)
            size = hidden_states[0].shape[-1:]
            frames = sum(weight * F.layer_norm(state, size) for weight, state in zip(weights, hidden_states, strict=True))
        return self.classifier(self.dropout(self.pooling(self.projector(frames), mask)))
