"""Speaker embeddings: the network and its windows, with random weights in a package like the real one's."""

import sys

import numpy as np
import pytest
import torch

from checkpoints import waves
from ser.features.speakers import ge2e
from ser.runtime.errors import UserError


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A package of the name that holds random weights, as the real one holds trained ones."""
    (tmp_path / "resemblyzer").mkdir()
    (tmp_path / "resemblyzer" / "__init__.py").write_text("raise ImportError('its code is never run')")
    torch.manual_seed(0)
    network = ge2e.Ge2eNetwork()
    torch.save({"model_state": network.state_dict() | {"similarity_weight": torch.ones(1)}}, tmp_path / "resemblyzer" / "pretrained.pt")
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("resemblyzer", None)
    ge2e._network.cache_clear()
    yield network.eval()
    ge2e._network.cache_clear()


def test_a_part_of_a_clip_is_embedded_as_lstm_relu_and_length_one_say(weights):
    import librosa

    wave = waves(1.6)[0]
    mel = librosa.feature.melspectrogram(y=wave, sr=16_000, n_fft=400, hop_length=160, n_mels=40).T[:160]
    with torch.no_grad():
        hidden = weights.lstm(torch.from_numpy(mel)[None])[1][0][-1]
        expected = torch.relu(weights.linear(hidden))[0].numpy()
    np.testing.assert_allclose(ge2e.extract(wave)["ge2e"], expected / np.linalg.norm(expected), atol=1e-5)


@pytest.mark.parametrize(("seconds", "starts"), [(0.1, [0]), (1.6, [0]), (2.0, [0, 77]), (2.8, [0, 77, 154])])
def test_long_clips_are_heard_in_overlapping_parts_that_are_three_quarters_full(seconds, starts):
    assert ge2e.parts(round(16_000 * seconds)) == starts


def test_loudness_below_a_limit_does_not_matter_and_silence_is_finite(weights):
    wave = 0.1 * waves(2.0)[0]
    np.testing.assert_allclose(ge2e.extract(wave)["ge2e"], ge2e.extract(0.1 * wave)["ge2e"], atol=1e-5)
    assert np.isfinite(ge2e.extract(np.zeros(16_000, np.float32))["ge2e"]).all()


def test_missing_package_is_told(monkeypatch):
    monkeypatch.setattr(ge2e, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"--no-deps -r requirements-speakers\.txt"):
        ge2e.check_installed()
