"""Choosing a model: who is rejected and why, who is ranked, and that the numbers are those an independent count gives."""

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from sklearn.metrics import f1_score, recall_score
from transformers import AutoConfig, AutoModel, AutoModelForAudioClassification, Wav2Vec2FeatureExtractor

from checkpoints import CHECKPOINTS, make_checkpoint
from runs import make_run
from ser.compare import __main__ as compare
from ser.compare.adapters import declared, open_candidate
from ser.compare.candidates import Candidate, check_one_label, read_candidates, ready_list
from ser.compare.judging import Judged, judge
from ser.compare.labelled import read_labelled
from ser.compare.rules import TARGET, TIERS, Verdict, judge_classes, judge_license, mapped, tier
from ser.compare.scoring import score
from ser.compare.speechbrain import open_speechbrain
from ser.config import DataConfig
from ser.data.labels import label_set
from ser.data.utterance import Utterance
from ser.inference.runs import read_run
from ser.runtime.device import make_accelerator
from ser.runtime.errors import UserError
from ser.train import __main__ as train
from tiny import make_tiny_data

pytestmark = pytest.mark.long

RAVDESS = ("angry", "calm", "disgust", "fearful", "happy", "neutral", "sad", "surprised")


def classifier(folder, labels, bias=None, **config):
    """A tiny transformers audio classifier in a folder; bias: its classifier hears nothing and answers by this."""
    settings = dict(CHECKPOINTS["wav2vec2-layer"]) | {"num_hidden_layers": 1} | config
    settings.pop("model_type")
    names = dict(enumerate(labels))
    made = AutoConfig.for_model("wav2vec2", **settings, num_labels=len(labels), id2label=names, label2id={v: k for k, v in names.items()})
    torch.manual_seed(0)
    model = AutoModelForAudioClassification.from_config(made)
    torch.nn.init.normal_(model.classifier.weight)
    if bias is not None:
        model.classifier.weight.data.zero_()
        model.classifier.bias.data.copy_(torch.tensor(bias))
    model.save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)
    return folder


def speechbrain(folder, labels=("neu", "ang", "hap", "sad")):
    """A folder of SpeechBrain's names, converted to safetensors; returns it."""
    make_checkpoint(folder, "wav2vec2-group", num_hidden_layers=1)
    encoder = AutoModel.from_pretrained(folder)
    save_file({f"model.{name}": value.contiguous() for name, value in encoder.state_dict().items()}, folder / "wav2vec2.safetensors")
    torch.manual_seed(0)
    save_file({"0.w.weight": torch.randn(len(labels), encoder.config.hidden_size)}, folder / "model.safetensors")
    lines = [f"'{name}' => {place}" for place, name in enumerate(labels)]
    (folder / "label_encoder.txt").write_text("\n".join([*lines, "================", "'starting_index' => 0"]))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_tiny_data(tmp_path_factory.mktemp("compare") / "input", clips=72, test_clips=2)


@pytest.fixture(scope="module")
def table(data, tmp_path_factory):
    """The real command on six kinds of candidates, of which three are to be rejected; its folder is `table.attrs["output"]`."""
    folder = tmp_path_factory.mktemp("candidates")
    cache = str(folder / "cache")
    run_config = folder / "tiny.yaml"
    run_config.write_text("model: {kind: mfcc_cnn}\ntrain: {epochs: 1}\ncv: {n: 2}\ntracking: {mode: disabled}\n")
    options = ["--data.root", str(data), "--data.cache", cache]
    train.main(["--config", str(run_config), *options, "--run.output", str(folder / "outputs" / "tiny")])
    ids = pd.read_csv(data / "train.csv")
    rng = np.random.default_rng(0)
    vectors = np.eye(6)[ids["label"]] * 4 + rng.normal(size=(len(ids), 6))
    np.savez(folder / "vectors.npz", ids=ids["id"].to_numpy(str), embeddings=vectors)
    words = [
        "librosa",
        f"run:{folder / 'outputs' / 'tiny'}",
        f"embeddings:{folder / 'vectors.npz'}",
        f"transformers:{classifier(folder / 'eight', RAVDESS)}",
        f"transformers:{classifier(folder / 'four', ('neu', 'hap', 'ang', 'sad'))}",
        f"transformers:{classifier(folder / 'dimensional', ('arousal', 'dominance', 'valence'), problem_type='regression')}",
        f"transformers:{classifier(folder / 'constant', TARGET, bias=[3.0, 0, 0, 0, 0, 0, 0])}",
        f"transformers:{classifier(folder / 'nameless', [f'LABEL_{n}' for n in range(6)])}",
        f"transformers:{classifier(folder / 'letters', [*'abcdef'])}",
        f"speechbrain:{speechbrain(folder / 'brain')}",
        "superb/wav2vec2-large-superb-er",
        "IliaZenkov/transformer-cnn-emotion-recognition",
    ]
    options += ["--output", str(folder / "choice"), "--folds", "3", "--language", "en"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        compare.main([*words, *options])
    result = pd.read_csv(folder / "choice" / "choice.csv").set_index("candidate")
    result.attrs |= {"output": folder / "choice", "run": folder / "outputs" / "tiny"}
    return result


def test_at_least_five_kinds_are_measured_and_ranked_best_first(table):
    measured = table[table["accuracy"].notna()]
    assert set(measured["kind"]) == {"librosa", "run", "embeddings", "transformers", "speechbrain"}
    ranked = [(tier, -accuracy) for tier, accuracy in zip(measured["tier"], measured["accuracy"], strict=True)]
    assert ranked == sorted(ranked)
    for key in ("accuracy", "macro_f1", "uar", "neutral_rate"):
        assert (measured[f"{key}_low"] <= measured[key] + 1e-9).all()
        assert (measured[key] <= measured[f"{key}_high"] + 1e-9).all()
    assert (measured["n"] == 72).all()
    assert (measured.drop("vectors.npz")[["seconds_per_clip", "real_time_factor", "peak_memory_mb"]] > 0).all(axis=None)


def test_labels_that_are_no_emotions_are_said_so_and_not_scored(table):
    """Every answer of such a model would count as neutral, the first of the seven."""
    assert "have no names: write them into id2label" in table.loc["nameless", "classes"]
    assert "name no emotion" in table.loc["letters", "classes"]
    assert table.loc[["nameless", "letters"], "accuracy"].isna().all()


def test_the_right_ones_are_rejected_for_the_right_reason(table):
    for name, rule, reason in (
        ("four", "classes", "FAIL: 4 classes (neutral, happy, angry, sad); lacks fear, surprise, disgust"),
        ("brain", "classes", "FAIL: 4 classes"),
        ("dimensional", "classes", "FAIL: dimensional (arousal, dominance, valence)"),
        ("constant", "better than one class", "FAIL: constant: answers neutral for every clip"),
        ("constant", "neutral rate", "FAIL: 100 %"),
        ("superb/wav2vec2-large-superb-er", "classes", "FAIL: 4 classes"),
    ):
        assert table.loc[name, "tier"] == TIERS[4], name
        assert table.loc[name, rule].startswith(reason), table.loc[name, rule]
    assert table.loc["eight", "classes"].startswith("pass: covers the seven, 8 classes mapped")
    assert table.loc["constant", "accuracy"] == pytest.approx(12 / 72)


def test_a_damaged_run_is_left_to_the_judging_of_its_own(tmp_path):
    for content in (b"{", b"[]", b"\xff\xfe"):
        (tmp_path / "data.json").write_bytes(content)
        candidates = read_candidates([f"run:{tmp_path}"])
        check_one_label(candidates)
        with pytest.raises(UserError, match=r"data\.json"):
            declared(candidates[0], None)


def test_what_cannot_be_had_is_listed_with_the_reason(table):
    assert "HF_HUB_OFFLINE" in table.loc["superb/wav2vec2-large-superb-er", "loadable"]
    assert "pickles aren't opened" in table.loc["IliaZenkov/transformer-cnn-emotion-recognition", "loadable"]
    assert table.loc["IliaZenkov/transformer-cnn-emotion-recognition", "tier"] == TIERS[3]


def test_a_run_answers_its_own_clips_out_of_fold(table):
    run = read_run(table.attrs["run"])
    assert table.loc["tiny", "accuracy"] == pytest.approx((run.oof.argmax(1) == run.labels).mean())
    assert "out-of-fold" in table.loc["tiny", "scored"]


def test_page_and_picture_tell_the_same(table):
    page = (table.attrs["output"] / "choice.md").read_text(encoding="utf-8")
    assert "(always" in page
    assert "baseline | – | 0.167" in page
    assert (table.attrs["output"] / "choice.png").stat().st_size > 10_000
    assert f"{table.loc['librosa', 'accuracy']:.3f} [" in page


def test_scores_are_scikit_learns_and_unmapped_classes_count_for_nothing():
    rng = np.random.default_rng(0)
    truth = rng.choice([0, 1, 3], 60)
    classes = ("calm", "happiness", "anger", "other", "surprised")
    probabilities = rng.dirichlet(np.ones(5), 60)
    result = score(probabilities, classes, truth, None)
    answers = np.array([0, 1, 3, 5])[np.delete(probabilities, 3, axis=1).argmax(1)]
    assert result["accuracy"] == pytest.approx((answers == truth).mean())
    assert result["macro_f1"] == pytest.approx(f1_score(truth, answers, average="macro"))
    assert result["uar"] == pytest.approx(recall_score(truth, answers, labels=[0, 1, 3], average="macro"))
    assert result["neutral_rate"] == pytest.approx((answers == 0).mean())
    assert result["macro_f1_low"] < result["macro_f1"] < result["macro_f1_high"]


def test_class_rules():
    assert judge_classes(RAVDESS).passed
    assert "mapped" in judge_classes(RAVDESS).reason
    assert "binary" in judge_classes(("positive", "negative")).reason
    assert "lacks surprise" in judge_classes(("angry", "fear", "sad", "disgust", "neutral", "happy")).reason
    assert judge_classes(None).passed is None
    assert mapped(("calm", "LABEL_3", "other")) == ("neutral", None, None)


def test_tier_follows_from_the_rules():
    six = ("angry", "fear", "sad", "disgust", "neutral", "happy")
    assert tier([judge_classes(RAVDESS)], True, RAVDESS) == TIERS[1]
    assert tier([judge_classes(six)], True, six) == TIERS[2]
    assert tier([judge_classes(RAVDESS)], False, RAVDESS) == TIERS[3]
    research = Candidate("x", "librosa", license="cc-by-nc-4.0", use="research")
    assert judge_license(research, "research").passed
    assert tier([judge_license(research, "commercial")], True, RAVDESS) == TIERS[4]


def test_what_is_printed_of_a_candidate_says_why_it_is_no_first_choice():
    failed, unknown = Verdict("licence", False, "research only"), Verdict("language", None, "language not known")
    candidate = Candidate("one", "transformers")
    assert Judged(candidate, RAVDESS, (failed, unknown), None, "", TIERS[4]).told == "rejected (licence: research only)"
    assert Judged(candidate, RAVDESS, (unknown,), {}, "", TIERS[2]).told == f"{TIERS[2]} (language: language not known)"
    assert Judged(candidate, RAVDESS, (Verdict("memory", True, "1 MB"),), {}, "", TIERS[1]).told == TIERS[1]


def test_labels_that_a_run_never_learnt_and_runs_that_read_are_told_before_anything_is_opened(tmp_path):
    """korean15 knows fifteen labels; the clips of this run have three of them."""
    accelerator = make_accelerator("fp32")
    korean, seven = label_set("korean15"), label_set("subtitle7")
    train_clips = [{"id": f"TRAIN_{row:04d}", "audio_hash": f"a{row}", "label": row % 3} for row in range(60)]
    few = make_run(tmp_path / "few", label_names=korean, data={"train": train_clips})
    words = make_run(tmp_path / "words", label_names=seven, data={"input": "text"})
    fused = make_run(tmp_path / "fused", label_names=seven, data={"input": "audio and text"})
    of_few, of_words, of_fused = (
        judge(Candidate(place.name, "run", str(place)), None, accelerator, "research", "ko", 0) for place in (few, words, fused)
    )
    assert of_few.tier == TIERS[4] and of_few.classes == korean[:3]
    assert (
        "3 classes (neutral, angry, happy); lacks sad, fear, surprise, disgust; never learnt, without a training clip: sad" in of_few.told
    )
    assert of_words.tier == TIERS[4] and of_words.classes == seven
    assert "audio input: takes text; candidates are given audio alone" in of_words.told
    assert "audio input: takes audio and text; candidates are given audio alone" in of_fused.told


def test_ready_list_names_specs_candidates_and_known_words_are_allowed(tmp_path):
    names = [candidate.name for candidate in ready_list()]
    assert len(names) == len(set(names)) >= 13
    assert read_candidates(["librosa", "speechbrain:speechbrain/emotion-recognition-wav2vec2-IEMOCAP"])[1].license == "apache-2.0"
    for folder in ("a/speaker", "b/speaker", "c"):
        (tmp_path / folder).mkdir(parents=True)
    words = [f"run:{tmp_path / folder}" for folder in ("a/speaker", "b/speaker", "c")]
    assert [candidate.name for candidate in read_candidates(words)] == ["a/speaker", "b/speaker", "c"]
    with pytest.raises(UserError, match="named twice"):
        read_candidates([words[0], words[0]])
    with pytest.raises(UserError, match="candidate 'svm'"):
        read_candidates(["svm"])
    for word, meant in (("libroza", "librosa"), ("runs:outputs/X", "run:outputs/X"), (str(tmp_path), f"transformers:{tmp_path}")):
        with pytest.raises(UserError, match=f"Did you mean {meant}[?]"):
            read_candidates([word])
    with pytest.raises(UserError, match="no such run folder"):
        read_candidates([f"run:{tmp_path / 'd'}"])


def test_speechbrain_weights_give_what_the_recipe_computes_and_pickles_are_refused(tmp_path):
    folder = speechbrain(tmp_path / "brain")
    model = open_speechbrain(folder)
    assert model.label_names == ("neutral", "angry", "happy", "sad")
    wave = np.random.default_rng(0).normal(0, 0.1, 8_000).astype(np.float32)
    batch = model.frontend.collate([model.frontend.prepare(Utterance(wave))])
    with torch.no_grad():
        states = model.encoder(**batch).last_hidden_state
        flat = (states - states.mean()) / torch.sqrt(states.var(correction=0) + 1e-5)
        torch.testing.assert_close(model(**batch), flat.mean(1) @ model.classifier.weight.T, atol=1e-4, rtol=1e-4)
    (folder / "wav2vec2.safetensors").rename(folder / "wav2vec2.ckpt")
    with pytest.raises(UserError, match=r"lacks wav2vec2.safetensors.*wav2vec2.ckpt, pickles"):
        open_speechbrain(folder)


def test_pickled_embeddings_and_a_fold_of_a_run_are_refused(table, data, tmp_path):
    labelled = read_labelled(DataConfig(root=str(data), cache=str(tmp_path / "cache")), 2, 0)
    accelerator = make_accelerator("fp32")
    np.savez(tmp_path / "bad.npz", ids=np.array([{"a": 1}], dtype=object), embeddings=np.zeros((1, 2)))
    with pytest.raises(UserError, match=r"can't be read.*allow_pickle"):
        open_candidate(Candidate("bad", "embeddings", str(tmp_path / "bad.npz")), labelled, accelerator, 0)
    fold = table.attrs["run"] / "fold_0" / "model"
    with pytest.raises(UserError, match="give run:"):
        open_candidate(Candidate("fold", "transformers", str(fold)), labelled, accelerator, 0)


def test_embeddings_are_matched_by_one_name_that_tells_all_clips_apart(data, tmp_path):
    """angry/001.wav and happy/001.wav have one stem, which mustn't give both the same vector."""
    for place, name in enumerate(("angry", "happy", "sad")):
        for number in range(4):
            clip = tmp_path / "in" / name / f"{number:03d}.wav"
            clip.parent.mkdir(parents=True, exist_ok=True)
            clip.write_bytes((data / "train" / f"TRAIN_{4 * place + number:04d}.wav").read_bytes())
    labelled = read_labelled(DataConfig(root=str(tmp_path / "in"), cache=str(tmp_path / "cache")), 2, 0)
    ids, accelerator = labelled.table.ids, make_accelerator("fp32")
    own_label = np.eye(3)[labelled.labels] * 9

    def opened(names):
        np.savez(tmp_path / "v.npz", ids=np.array(names), embeddings=own_label[: len(names)])
        return open_candidate(Candidate("v", "embeddings", str(tmp_path / "v.npz")), labelled, accelerator, 0)

    np.testing.assert_array_equal(opened(ids).probabilities().argmax(1), labelled.labels)
    with pytest.raises(UserError, match=r"by file name without ending, 000, .*several clips at once"):
        opened([f"{number:03d}" for number in range(4)])
    with pytest.raises(UserError, match=r"by file name, 000\.wav, .*several clips at once.*angry/000\.wav"):
        opened([f"{number:03d}.wav" for number in range(4)])
    with pytest.raises(UserError, match="001 more than once"):
        opened(["000", "001", "001"])
