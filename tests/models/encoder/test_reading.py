"""Networks from scratch."""

import torch
from transformers import AutoModelForAudioClassification, Wav2Vec2Config

from ser.models.encoder.reading import random_network


def test_a_network_from_scratch_is_the_one_that_transformers_draws():
    """Looking at its size first draws no random number."""
    config = Wav2Vec2Config(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    torch.manual_seed(5)
    expected = AutoModelForAudioClassification.from_config(config).state_dict()
    torch.manual_seed(5)
    drawn = random_network(config).state_dict()
    assert all(torch.equal(drawn[name], value) for name, value in expected.items())
