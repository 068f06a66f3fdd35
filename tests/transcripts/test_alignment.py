import itertools
import json

import numpy as np
import pytest
import torch

from checkpoints import CHECKPOINTS
from ser.runtime.errors import UserError
from ser.transcripts.alignment import ANY, Aligner, align, spell

pytestmark = pytest.mark.usefixtures("undrawn")

ALPHABET = {"<pad>": 0, "|": 1, "a": 2, "B": 3, "가": 4, **{chr(code): 5 + place for place, code in enumerate((0x1102, 0x1161))}}


def collapsed(path):
    return [letter for letter, _ in itertools.groupby(path) if letter]


def test_the_most_probable_of_all_ways_is_taken():
    random = np.random.default_rng(0)
    for letters in ([1, 2], [1, 1], [2, 1, 2]):
        scores = np.log(random.dirichlet(np.ones(3), 6))
        ways = [path for path in itertools.product(range(3), repeat=6) if collapsed(path) == letters]
        best = max(ways, key=lambda path: sum(scores[frame, letter] for frame, letter in enumerate(path)))
        bounds = align(scores, np.array(letters), 0)
        runs = [list(run) for letter, run in itertools.groupby(range(6), key=lambda frame: best[frame]) if letter]
        assert bounds.tolist() == [[run[0], run[-1] + 1] for run in runs]
    assert align(scores[:1], np.array([1, 2]), 0) is None


def test_letters_out_of_the_alphabet_stand_for_any_sound():
    letters, owner = spell(["A가", "b?", "나", "7"], ALPHABET, 1)
    assert letters.tolist() == [2, 4, 1, 3, 1, 5, 6, 1, ANY] and owner.tolist() == [0, 0, ANY, 1, ANY, 2, 2, ANY, 3]
    scores = np.log(np.full((4, 7), 0.02))
    scores[[0, 1, 2, 3], [2, 0, 6, 0]] = 0.0
    assert align(scores, np.array([2, ANY]), 0)[:, 0].tolist() == [0, 2]


@pytest.fixture
def checkpoint(tmp_path):
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

    settings = {key: value for key, value in CHECKPOINTS["wav2vec2-layer"].items() if key != "model_type"}
    torch.manual_seed(0)
    folder = tmp_path / "ctc"
    Wav2Vec2ForCTC(Wav2Vec2Config(**settings, vocab_size=len(ALPHABET), pad_token_id=0)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps(ALPHABET))
    return folder


def test_a_network_gives_each_word_its_time_in_order_once(checkpoint, tmp_path, monkeypatch):
    samples = np.random.default_rng(0).normal(0, 1000, 32_000).astype(np.int16)
    times = Aligner(str(checkpoint), tmp_path).times(samples, ["Aa", "가", "ba!"])
    assert len(times) == 3 and all(0 <= start < end <= 2.001 for start, end in times)
    assert all(before[1] <= after[0] + 1e-9 for before, after in itertools.pairwise(times))
    monkeypatch.setattr(Aligner, "_load", lambda self: pytest.fail("the network was loaded although all is known"))
    assert Aligner(str(checkpoint), tmp_path).times(samples, ["Aa", "가", "ba!"]) == times
    monkeypatch.undo()
    assert Aligner(str(checkpoint), tmp_path).times(samples[:1000], ["a" * 50]) is None, "more letters than frames"


def test_a_checkpoint_that_knows_no_letters_is_refused(checkpoint, tmp_path):
    (checkpoint / "vocab.json").unlink()
    with pytest.raises(UserError, match=r"vocab\.json.*by CTC"):
        Aligner(str(checkpoint), tmp_path)
