"""When each word is spoken, by a network trained for speech recognition by CTC (Graves et al. 2006): forced alignment, as in WhisperX.

The text is known; of all ways to lay its letters along the network's frames (each letter one frame or more, blanks between) the most
probable one is taken (Viterbi). Letters that the network's alphabet lacks stand for any sound.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ser.audio import to_float
from ser.data.hashes import hash_files
from ser.models.hub import checkpoint_folder
from ser.models.pretrained import load_network, quiet, read_config
from ser.runtime.errors import UserError
from ser.runtime.files import write_json

FORMAT = 1  # raise it when the same sound, words and network give other times
TYPES = ("wav2vec2", "hubert", "wavlm", "data2vec-audio", "unispeech", "unispeech-sat", "wav2vec2-conformer", "wav2vec2-bert")
ANY = -1
"""A letter that isn't in the alphabet."""


class Aligner:
    """One network, by folder or hub name; loaded when the first words aren't in the cache, released with this object."""

    def __init__(self, name: str, cache: str | Path) -> None:
        self.folder = checkpoint_folder(name)
        self.config = read_config(self.folder, TYPES, "networks for forced alignment")
        self.alphabet, self.separator = _alphabet(self.folder)
        self.cache = Path(cache) / "alignments"
        files = sorted(path for path in self.folder.iterdir() if path.is_file())
        self.made_by = [FORMAT, *map(str, hash_files(files, cache, "the model"))]
        self.network = None

    def times(self, samples: np.ndarray, words: Sequence[str]) -> list[tuple[float, float]] | None:
        """Start and end of each word in seconds of int16 samples (T,) at 16 kHz; None where the words don't fit into them."""
        sound = hashlib.blake2b(np.ascontiguousarray(samples).tobytes(), digest_size=16).hexdigest()
        key = hashlib.blake2b(json.dumps([self.made_by, sound, list(words)]).encode(), digest_size=16).hexdigest()
        path = self.cache / key[:2] / f"{key}.json"
        try:
            return _checked(json.loads(path.read_text(encoding="utf-8")), len(words))
        except (OSError, ValueError, TypeError):
            found = self._align(samples, words)
            write_json(path, found)
            return found

    def _align(self, samples: np.ndarray, words: Sequence[str]) -> list[tuple[float, float]] | None:
        scores = self._emissions(samples)
        letters, owner = spell(words, self.alphabet, self.separator)
        frames = align(scores, letters, self.config.pad_token_id or 0)
        if frames is None:
            return None
        step = len(samples) / 16_000 / len(scores)
        own = [frames[owner == number] for number in range(len(words))]
        return [(float(part[:, 0].min() * step), float(part[:, 1].max() * step)) for part in own]

    def _emissions(self, samples: np.ndarray) -> np.ndarray:
        """Log probabilities (frames, letters)."""
        if self.network is None:
            self.network = self._load()
        extractor, network = self.network
        heard = extractor(to_float(samples), sampling_rate=16_000, return_tensors="pt")
        with torch.inference_mode():
            logits = network(**heard.to(network.device)).logits[0].float()
        return torch.log_softmax(logits, dim=-1).cpu().numpy()

    def _load(self):
        from transformers import AutoFeatureExtractor, AutoModelForCTC

        network, report = load_network(AutoModelForCTC, self.folder, self.config)
        if missing := sorted(name for name in report["missing_keys"] if name.startswith("lm_head")):
            raise UserError(f"speech.align: {self.folder} has no output for letters ({missing[0]} is missing); it wasn't trained by CTC.")
        with quiet():
            extractor = AutoFeatureExtractor.from_pretrained(self.folder, local_files_only=True)
        return extractor, network.eval().to("cuda" if torch.cuda.is_available() else "cpu")


def spell(words: Sequence[str], alphabet: dict[str, int], separator: int | None) -> tuple[np.ndarray, np.ndarray]:
    """The letters of words as numbers of the alphabet, and the word that each belongs to (ANY: between two words)."""
    letters, owner = [], []
    for number, word in enumerate(words):
        if number and separator is not None:
            letters.append(separator)
            owner.append(ANY)
        own = [place for sign in unicodedata.normalize("NFC", word) if sign.isalnum() for place in _letters(sign, alphabet)] or [ANY]
        letters += own
        owner += [number] * len(own)
    return np.array(letters), np.array(owner)


def align(scores: np.ndarray, letters: np.ndarray, blank: int) -> np.ndarray | None:
    """First frame of each letter and the one after its last, (letters, 2), by log probabilities (frames, alphabet).

    None where there are fewer frames than letters. The states are blank, letter, blank, letter … blank, as in CTC.
    """
    states = 2 * len(letters) + 1
    other = np.delete(scores, blank, axis=1).max(axis=1)
    emitted = np.repeat(scores[:, blank : blank + 1], states, axis=1)
    emitted[:, 1::2] = np.where(letters == ANY, other[:, None], scores[:, np.maximum(letters, 0)])
    skips = np.zeros(states, bool)  # a blank may be left out between two different letters
    skips[3::2] = letters[1:] != letters[:-1]
    best = np.full(states, -np.inf)
    best[:2] = emitted[0, :2]
    came = np.zeros((len(scores), states), np.int8)
    for frame in range(1, len(scores)):
        ways = np.full((3, states), -np.inf)
        ways[0], ways[1, 1:] = best, best[:-1]
        ways[2, 2:] = np.where(skips[2:], best[:-2], -np.inf)
        came[frame] = ways.argmax(axis=0)
        best = ways.max(axis=0) + emitted[frame]
    state = states - 1 if best[-1] >= best[-2] else states - 2
    if not np.isfinite(best[state]):
        return None
    bounds = np.zeros((len(letters), 2), np.int64)
    for frame in range(len(scores) - 1, -1, -1):
        if state % 2:
            letter = state // 2
            bounds[letter] = (frame, bounds[letter, 1] or frame + 1)
        state -= int(came[frame, state])
    return bounds


def _letters(sign: str, alphabet: dict[str, int]) -> list[int]:
    """One sign as letters of the alphabet: itself, in another case, or taken apart (Hangul to jamo)."""
    for form in (sign, sign.lower(), sign.upper()):
        if form in alphabet:
            return [alphabet[form]]
    apart = unicodedata.normalize("NFD", sign)
    if len(apart) > 1 and all(part in alphabet for part in apart):
        return [alphabet[part] for part in apart]
    return [ANY]


def _alphabet(folder: Path) -> tuple[dict[str, int], int | None]:
    """Letters and their numbers, and the number of what stands between words. Raises UserError."""
    try:
        vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
        vocabulary = next((part for part in vocabulary.values() if isinstance(part, dict)), vocabulary)  # one per language (MMS)
        letters = {str(letter): int(number) for letter, number in vocabulary.items() if len(str(letter)) == 1}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"speech.align: {folder}/vocab.json, the letters of its output, can't be read ({error}). "
            "A checkpoint trained for speech recognition by CTC is needed, e.g. kresnik/wav2vec2-large-xlsr-korean."
        ) from None
    return letters, letters.pop("|", None)


def _checked(times: list | None, words: int) -> list[tuple[float, float]] | None:
    if times is not None and len(times) != words:
        raise ValueError("times of other words")
    return None if times is None else [(float(start), float(end)) for start, end in times]
