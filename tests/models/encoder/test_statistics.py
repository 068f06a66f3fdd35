"""A pretrained encoder's hidden layers as features of clips, against transformers' own outputs."""

import numpy as np
import pytest
import torch
from transformers import AutoModel

from checkpoints import make_checkpoint, waves
from ser.config import ClassicalConfig, DataConfig, ModelConfig
from ser.data.inputs import Store
from ser.data.store import ClipStore
from ser.models.encoder import frozen_outputs
from ser.models.encoder.statistics import EncoderStatistics
from ser.runtime.errors import UserError
from sounds import write_wav

pytestmark = pytest.mark.usefixtures("undrawn")

LABELS = ("angry", "sad")
SECONDS = (0.4, 1.3, 0.9, 1.3)


def opened(tmp_path, kind, layers=None):
    folder = make_checkpoint(tmp_path / kind, kind)
    config = ModelConfig(kind="classical", name=str(folder), classical=ClassicalConfig(features=["encoder"], encoder_layers=layers))
    return EncoderStatistics.open(config, LABELS, 4.0), folder


def store_of(tmp_path):
    paths = [write_wav(tmp_path / f"{i}.wav", clip) for i, clip in enumerate(waves(*SECONDS))]
    return Store.of_clips(ClipStore.open(paths, DataConfig(cache=str(tmp_path / "cache"))))


def test_they_are_means_and_deviations_of_transformers_hidden_states(tmp_path):
    statistics, folder = opened(tmp_path, "wav2vec2-layer", [1, 3])
    store, reference = store_of(tmp_path), AutoModel.from_pretrained(folder).eval()
    for row in range(len(store)):
        wave = torch.from_numpy(store[row].samples)[None]
        wave = (wave - wave.mean()) / (wave.var(correction=0) + 1e-7).sqrt()
        with torch.no_grad():
            states = reference(wave, output_hidden_states=True).hidden_states
        frames = [states[layer][0] for layer in (1, 3)]
        expected = [statistic for frame in frames for statistic in (frame.mean(0), frame.std(0, correction=0))]
        np.testing.assert_allclose(statistics.of(store, np.array([row]))[0], torch.cat(expected).numpy(), atol=1e-4)


@pytest.mark.parametrize("kind", ["wav2vec2-group", "wavlm-layer", "whisper"])
def test_a_clips_features_depend_on_itself_alone_and_are_computed_once(kind, tmp_path, monkeypatch):
    statistics, _ = opened(tmp_path, kind)
    store = store_of(tmp_path)
    alone = np.concatenate([statistics.of(store, np.array([row])) for row in range(len(store))])
    in_memory = Store.of_samples([store.clips.samples(row) for row in range(len(store))])
    np.testing.assert_allclose(statistics.of(in_memory, np.arange(4)), alone, atol=1e-5)
    monkeypatch.setattr(frozen_outputs, "compute_outputs", lambda *_: pytest.fail("computed again"))
    np.testing.assert_array_equal(statistics.of(store, np.arange(4)[::-1])[::-1], alone)


def test_whisper_hears_no_silence_behind_a_clip(tmp_path):
    """The same clip with another frame limit: positions are cut to the clip, so the limit can't matter."""
    statistics, folder = opened(tmp_path, "whisper")
    config = ModelConfig(kind="classical", name=str(folder), classical=ClassicalConfig(features=["encoder"]))
    longer = EncoderStatistics.open(config, LABELS, 2.0)
    store = store_of(tmp_path)
    np.testing.assert_allclose(longer.of(store, np.arange(4)), statistics.of(store, np.arange(4)), atol=1e-5)


def test_saved_encoder_gives_the_same_features(tmp_path):
    statistics, _ = opened(tmp_path, "whisper")
    statistics.save(tmp_path / "model")
    store = Store.of_samples([(clip * 32767).astype(np.int16) for clip in waves(*SECONDS)])
    again = EncoderStatistics.load(tmp_path / "model", None)
    np.testing.assert_array_equal(again.of(store, np.arange(4)), statistics.of(store, np.arange(4)))


def test_a_layer_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"given 9.*1 to 3"):
        opened(tmp_path, "wav2vec2-layer", [1, 9])
