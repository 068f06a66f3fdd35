"""What turns an encoder's hidden states into logits: layer weights, pooling, dropout, linear layers.

`PooledHead` on means is the hub's own head in another form: the hub projects each frame, averages and classifies, all of it linear.
Here the average is standardised before one linear layer, which AdamW and a solver can both work with; `to_hub` and `from_hub` go from
one form to the other without changing an answer.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from ser.models.encoder.pooling import AttentiveStatistics, deviation_over_time, mean_over_time
from ser.models.encoder.solved_head import Solution


class PooledHead(nn.Module):
    """Statistics over a clip's own frames, standardised, and one linear layer."""

    def __init__(
        self, size: int, labels: int, layers: int | None, deviation: bool, dropout: float = 0.0, class_tokens_eps: float | None = None
    ):
        """size: of a frame. layers: of the hidden states, the input of the first layer among them; None takes the last state alone.

        deviation: mean and deviation of each layer, side by side; else means, summed with layer weights where there are several.
        class_tokens_eps: of encoders that speak through two class tokens (AST): their mean, normalised with this, is what means are.
        """
        super().__init__()
        self.deviation, self.every_layer = deviation, layers is not None
        self.class_tokens_eps = None if deviation else class_tokens_eps
        self.layer_weights = nn.Parameter(torch.zeros(layers)) if layers and not deviation else None
        features = size if not deviation else 2 * size * (layers - 1 if layers else 1)
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(features, labels)
        nn.init.normal_(self.classifier.weight, std=0.02)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, states: tuple[torch.Tensor, ...], mask: torch.Tensor | None = None) -> torch.Tensor:
        """States, each (B, T, D), and a boolean mask (B, T), true for real frames -> logits (B, labels)."""
        return self.classify(self.pool(states, mask))

    def pool(self, states: tuple[torch.Tensor, ...], mask: torch.Tensor | None) -> torch.Tensor:
        """What is kept of each clip: (B, layers, features)."""
        if self.deviation and self.every_layer:
            states = states[1:]  # what goes into the first layer knows nothing of its surroundings yet
        if self.class_tokens_eps is not None:
            means = [mean_over_time(state[:, :2]) for state in states]
            return torch.stack([F.layer_norm(mean, mean.shape[-1:], eps=self.class_tokens_eps) for mean in means], dim=1)
        means = [mean_over_time(state, mask) for state in states]
        if self.deviation:
            spread = [deviation_over_time(state, mean, mask) for state, mean in zip(states, means, strict=True)]
            means = [torch.cat(pair, dim=-1) for pair in zip(means, spread, strict=True)]
        return torch.stack(means, dim=1)

    def classify(self, pooled: torch.Tensor) -> torch.Tensor:
        """(B, layers, features) -> logits (B, labels).

        In float32 whatever the encoder computes in: it costs nothing, and the hub's form, whose weights are larger, gives the same then.
        """
        with torch.autocast(pooled.device.type, enabled=False):
            pooled, weights = pooled.float(), self.layer_weights
            features = pooled.flatten(1) if weights is None else (pooled * weights.softmax(-1)[:, None]).sum(1)
            return self.classifier(self.dropout((features - self.mean) / self.scale))

    @torch.no_grad()
    def set_to(self, solution: Solution) -> None:
        """Take over a solved head; training goes on from there."""
        for target, values in (
            (self.mean, solution.mean),
            (self.scale, solution.scale),
            (self.classifier.weight, solution.weight),
            (self.classifier.bias, solution.bias),
        ):
            target.copy_(torch.as_tensor(values))
        if self.layer_weights is not None:
            self.layer_weights.copy_(torch.as_tensor(solution.layer_shares).log())

    @torch.no_grad()
    def to_hub(self, network: nn.Module) -> None:
        """Write this head into a hub's classification network: the projector gives the logits, the classifier passes them on."""
        weight = self.classifier.weight / self.scale
        bias, labels = self.classifier.bias - weight @ self.mean, len(weight)
        if self.class_tokens_eps is not None:
            network.classifier.dense.weight.copy_(weight)
            network.classifier.dense.bias.copy_(bias)
            return
        for layer in (network.projector, network.classifier):
            layer.weight.zero_()
            layer.bias.zero_()
        network.projector.weight[:labels] = weight
        network.projector.bias[:labels] = bias
        network.classifier.weight[:, :labels] = torch.eye(labels)
        if self.layer_weights is not None:
            network.layer_weights.copy_(self.layer_weights)

    @classmethod
    @torch.no_grad()
    def from_hub(cls, network: nn.Module) -> PooledHead:
        """The head of a hub's classification network."""
        if hasattr(network.classifier, "dense"):
            norm, dense = network.classifier.layernorm, network.classifier.dense
            head = cls(dense.in_features, dense.out_features, None, deviation=False, class_tokens_eps=norm.eps)
            head.classifier.weight.copy_(dense.weight * norm.weight)
            head.classifier.bias.copy_(dense.bias + dense.weight @ norm.bias)
            return head
        projector, classifier = network.projector, network.classifier
        weights = network.layer_weights if network.config.use_weighted_layer_sum else None
        head = cls(projector.in_features, classifier.out_features, None if weights is None else len(weights), deviation=False)
        head.classifier.weight.copy_(classifier.weight @ projector.weight)
        head.classifier.bias.copy_(classifier.weight @ projector.bias + classifier.bias)
        if weights is not None:
            head.layer_weights.copy_(weights)
        return head


class AttentiveHead(nn.Module):
    """Hidden states of an encoder -> logits: layer weights (optional), projection, attentive statistics, classifier."""

    def __init__(self, size: int, labels: int, layers: int | None, dropout: float = 0.0, projection: int = 256):
        super().__init__()
        self.every_layer = layers is not None
        # Zeros become equal weights in the softmax: training starts from the plain mean of the layers.
        self.layer_weights = nn.Parameter(torch.zeros(layers)) if layers else None
        self.projector = nn.Linear(size, projection)
        self.pooling = AttentiveStatistics(projection)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(2 * projection, labels)

    def forward(self, states: tuple[torch.Tensor, ...], mask: torch.Tensor | None = None) -> torch.Tensor:
        """Hidden states, each (B, T, D), and a boolean mask (B, T) -> logits (B, labels).

        With layer weights every layer counts, normalised first, since the late layers of pre-norm encoders are many times
        larger than the early ones; without them only the last one given is used.
        """
        if self.layer_weights is None:
            frames = states[-1]
        else:
            weights = self.layer_weights.softmax(dim=-1)
            size = states[0].shape[-1:]
            frames = sum(weight * F.layer_norm(state, size) for weight, state in zip(weights, states, strict=True))
        return self.classifier(self.dropout(self.pooling(self.projector(frames), mask)))
