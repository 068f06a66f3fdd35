"""A head that is solved: as scikit-learn would, on the training part alone, and at chance where labels are shuffled."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import softmax
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from checkpoints import LABELS, logits, make_checkpoint, waves
from ser.config import ModelConfig
from ser.models.encoder.heads import PooledHead
from ser.models.encoder.saving import hub_network
from ser.models.encoder.solved_head import TEMPERATURES, WITHOUT_INNER_FOLDS, solve
from ser.models.registry import build_model, load_model
from ser.train import __main__ as train
from tiny import make_tiny_data, write_tiny_config

pytestmark = pytest.mark.usefixtures("undrawn")


def clips_of(layers=3, size=80, clips=60, labels=3, telling=1):
    """Pooled features as encoders have them, a large mean and a small deviation, where only layer `telling` tells the labels apart."""
    rng = np.random.default_rng(0)
    truth = np.arange(clips) % labels
    pooled = rng.normal(0, 1, (clips, layers, size))
    pooled[:, telling] += 2 * rng.normal(0, 1, (labels, size))[truth]
    return 5 + 0.05 * pooled, truth


def logits_of(solution, features):
    return (features - solution.mean) / solution.scale @ solution.weight.T + solution.bias


@pytest.mark.parametrize("size", [20, 80])
def test_it_is_the_discriminant_analysis_of_standardised_features(size):
    """More features than clips or fewer: scikit-learn's, on the features as they are, gives the same answers, but for how sure it is."""
    pooled, truth = clips_of(layers=1, size=size, telling=0)
    solution = solve(pooled, truth, 3, None, sum_layers=False, balanced=False, seed=0)
    features = pooled[:, 0]
    analysis = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=solution.shrinkage)
    reference = make_pipeline(StandardScaler(), PCA(min(size, len(truth) - 1)), analysis).fit(features, truth)
    _same_but_for_how_sure(logits_of(solution, features), reference.decision_function(features))


def _same_but_for_how_sure(ours, theirs, log_priors=0.0):
    """Logits of the same evidence, times one of the temperatures that are tried, beside the same priors."""
    centred = [values - values.mean(1, keepdims=True) for values in (ours - log_priors, theirs - log_priors)]
    factor = centred[0].std() / centred[1].std()
    np.testing.assert_allclose(centred[0], factor * centred[1], atol=1e-6 * np.abs(ours).max())
    assert min(abs(factor - tried) for tried in TEMPERATURES) < 1e-6


def test_summed_layers_have_equal_say_whatever_their_size_and_the_first_layer_s_input_next_to_none():
    pooled, truth = clips_of()
    pooled *= np.array([1.0, 10.0, 0.1])[: pooled.shape[1], None]
    speakers = [f"s{row % 5}" for row in range(len(truth))]
    shares = solve(pooled, truth, 3, speakers, sum_layers=True, balanced=False, seed=0).layer_shares
    moved = shares * pooled.std(0).mean(-1)
    assert shares.sum() == pytest.approx(1)
    np.testing.assert_allclose(moved[1:], moved[1])
    assert moved[0] < 1e-3 * moved[1]


def test_a_label_without_clips_never_wins():
    pooled, truth = clips_of(labels=2)
    solution = solve(pooled, truth, 4, None, sum_layers=False, balanced=False, seed=0)
    answers = logits_of(solution, pooled.reshape(len(pooled), -1)).argmax(1)
    assert (answers == truth).mean() > 0.95
    assert set(answers) == {0, 1}


def rare_and_common():
    """45 clips of two labels together, six of the third; features that hardly tell."""
    rng, truth = np.random.default_rng(3), np.repeat([0, 1, 2], [30, 15, 6])
    return rng.normal(size=(51, 1, 20)) + 0.5 * rng.normal(size=(3, 1, 20))[truth], truth


def test_priors_are_the_labels_shares_however_sure_the_rest_is():
    """Fault: a temperature on all of the logits took the shares back as well."""
    pooled, truth = rare_and_common()
    solution, features = solve(pooled, truth, 3, None, sum_layers=False, balanced=False, seed=0), pooled[:, 0]
    analysis = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=solution.shrinkage)
    theirs = make_pipeline(StandardScaler(), analysis).fit(features, truth).decision_function(features)
    _same_but_for_how_sure(logits_of(solution, features), theirs, np.log([30, 15, 6]))


def test_balanced_labels_have_equal_priors_and_the_same_evidence():
    pooled, truth = rare_and_common()
    solution, features = solve(pooled, truth, 3, None, sum_layers=False, balanced=True, seed=0), pooled[:, 0]
    analysis = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=solution.shrinkage)
    theirs = make_pipeline(StandardScaler(), analysis).fit(features, truth).decision_function(features)
    _same_but_for_how_sure(logits_of(solution, features), theirs - np.log([30, 15, 6]))


def test_features_that_tell_nothing_leave_the_labels_shares():
    rng, truth = np.random.default_rng(4), np.repeat([0, 1, 2], [160, 20, 20])
    heard, new = rng.normal(size=(200, 1, 100)), rng.normal(size=(200, 100))
    solution = solve(heard, truth, 3, None, sum_layers=False, balanced=False, seed=0)
    loss = log_loss(truth, softmax(logits_of(solution, new), axis=1))
    assert loss < 1.15 * log_loss(truth, np.tile([0.8, 0.1, 0.1], (200, 1)))


def test_one_clip_of_a_label_stops_nobody_from_choosing():
    """Fault: one label with fewer clips than inner folds left all others with a shrinkage and a temperature that nobody had chosen."""
    rng, truth = np.random.default_rng(5), np.append(np.arange(200) % 3, 3)
    pooled = rng.normal(size=(201, 1, 300)) + 0.15 * rng.normal(size=(4, 1, 300))[truth]
    with_it, without = (solve(pooled[:clips], truth[:clips], 4, None, False, False, seed=0) for clips in (201, 200))
    assert with_it.shrinkage == without.shrinkage != WITHOUT_INNER_FOLDS[0]
    assert np.isfinite(logits_of(with_it, pooled[:, 0])).all()


@pytest.mark.parametrize("clips, speakers", [(6, None), (12, None), (21, 2)])
def test_a_handful_of_clips_gives_no_certainty(clips, speakers):
    """Fault: one clip a label had a log loss of 21 on new ones, 16 clips 3.8, and two voices, of which three labels could be judged, 17."""
    rng, truth = np.random.default_rng(8), np.sort(np.arange(clips + 600) % 6)
    pooled = rng.normal(size=(clips + 600, 1, 300)) + 0.15 * rng.normal(size=(6, 1, 300))[truth]
    heard = np.linspace(0, clips + 599, clips).astype(int)
    new = np.setdiff1d(np.arange(clips + 600), heard)
    who = None if speakers is None else [f"s{row % speakers}" for row in range(clips)]
    solution = solve(pooled[heard], truth[heard], 6, who, sum_layers=False, balanced=False, seed=0)
    assert log_loss(truth[new], softmax(logits_of(solution, pooled[new, 0]), axis=1)) < 1.15 * np.log(6)


@pytest.mark.parametrize("count", [10, 2])
def test_what_is_chosen_is_chosen_by_new_speakers(count):
    """Clips lie by their speakers: to judge clips of voices that were fitted, no shrinkage would be needed."""
    rng, truth, voices = np.random.default_rng(6), np.arange(240) % 3, np.arange(240) * count // 240
    mine = rng.normal(size=(3, 1, 40))[truth] + 3 * rng.normal(size=(count, 3, 1, 40))[voices, truth]
    pooled = mine + 0.3 * rng.normal(size=(240, 1, 40))
    features, names = pooled[:, 0], [f"s{voice}" for voice in voices]
    sure = [np.abs(logits_of(solve(pooled, truth, 3, who, False, False, 0), features)).mean() for who in (names, None)]
    assert sure[0] < 0.5 * sure[1]


def test_answers_are_as_sure_as_new_clips_allow():
    """Fault: with more features than clips the training clips lie far apart, and new ones were answered as surely as those."""
    rng, truth = np.random.default_rng(1), np.arange(400) % 3
    pooled = rng.normal(size=(400, 1, 300)) + 0.15 * rng.normal(size=(3, 1, 300))[truth]
    heard, new = slice(0, 200), slice(200, 400)
    features = pooled[:, 0]
    logits = logits_of(solve(pooled[heard], truth[heard], 3, None, False, False, seed=0), features)[new]
    loss = {factor: log_loss(truth[new], softmax(factor * logits, axis=1)) for factor in (0.5, 1.0, 2.0)}
    assert loss[1.0] == min(loss.values())


def test_clips_that_are_all_alike_get_the_labels_shares():
    solution = solve(np.ones((12, 1, 30)), np.repeat([0, 1, 1], 4), 3, None, False, False, seed=0)
    probabilities = softmax(logits_of(solution, np.ones((1, 30))), axis=1)[0]
    np.testing.assert_allclose(probabilities, [1 / 3, 2 / 3, 0], atol=1e-6)


def test_copies_of_one_clip_a_label_are_told_apart_with_finite_certainty():
    truth = np.repeat([0, 1, 2], 4)
    pooled = np.random.default_rng(7).normal(size=(3, 1, 30))[truth]
    logits = logits_of(solve(pooled, truth, 3, None, False, False, seed=0), pooled[:, 0])
    assert (logits.argmax(1) == truth).all()
    assert np.abs(logits).max() < 1e3


@pytest.mark.parametrize("sum_layers", [False, True])
def test_a_head_answers_as_the_solution_that_it_is_set_to(sum_layers):
    pooled, truth = clips_of()
    solution = solve(pooled, truth, 3, None, sum_layers=sum_layers, balanced=False, seed=0)
    features = np.einsum("clf,l->cf", pooled, solution.layer_shares) if sum_layers else pooled.reshape(len(pooled), -1)
    head = PooledHead(80, 3, 3, deviation=False) if sum_layers else PooledHead(40, 3, 4, deviation=True)
    head.set_to(solution)
    with torch.no_grad():
        answers = head.eval().classify(torch.tensor(pooled, dtype=torch.float32))
    np.testing.assert_allclose(answers.double().numpy(), logits_of(solution, features), atol=1e-3)


@pytest.mark.parametrize("layer_weights", [False, True])
def test_the_hubs_form_of_a_solved_head_gives_the_same_answers(tmp_path, layer_weights):
    folder = make_checkpoint(tmp_path / "base", "wav2vec2-layer")
    model = build_model(ModelConfig(name=str(folder), layer_weights=layer_weights), LABELS, 3.0).eval()
    size = model.encoder.config.hidden_size
    pooled = 0.5 + 0.01 * np.random.default_rng(1).normal(size=(60, 4 if layer_weights else 1, size))
    model.head.set_to(solve(pooled, np.arange(60) % 6, 6, None, sum_layers=layer_weights, balanced=False, seed=0))
    clips = waves(1.0, 1.0)
    ours = logits(model, clips)
    batch = {"input_values": torch.tensor(np.stack([(clip - clip.mean()) / clip.std() for clip in clips]))}
    with torch.no_grad():
        theirs = hub_network(model.encoder, model.head)(**batch).logits
    assert torch.allclose(ours, theirs, atol=1e-3 * ours.abs().max())
    model.save(tmp_path / "saved")
    assert torch.allclose(logits(load_model(tmp_path / "saved"), clips), ours, atol=1e-3 * ours.abs().max())


def test_standardised_training_moves_where_raw_features_would_not():
    """Fault: a linear layer under AdamW hardly moves on features of mean 5 and deviation 0.05."""
    pooled, truth = clips_of(layers=1, telling=0)
    inputs, targets = torch.tensor(pooled, dtype=torch.float32), torch.tensor(truth)

    def accuracy_after_training(standardised: bool) -> float:
        torch.manual_seed(0)
        head = PooledHead(80, 3, None, deviation=False)
        if standardised:
            head.mean.copy_(inputs[:, 0].mean(0)), head.scale.copy_(inputs[:, 0].std(0))
        optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3)
        for _ in range(60):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(head.classify(inputs), targets).backward()
            optimizer.step()
        return float((head.classify(inputs).argmax(-1) == targets).float().mean())

    assert accuracy_after_training(standardised=True) > 0.95 > accuracy_after_training(standardised=False) + 0.2


def test_a_solved_run_on_shuffled_labels_stays_at_chance(tmp_path):
    data = make_tiny_data(tmp_path / "demo", clips=72, test_clips=1)
    table = pd.read_csv(data / "train.csv")
    table["label"] = np.random.default_rng(0).permutation(table["label"].to_numpy())
    table.to_csv(data / "train.csv", index=False)
    model = {
        "name": str(make_checkpoint(tmp_path / "base", "wav2vec2-layer")),
        "from_scratch": None,
        "freeze": "encoder",
        "pooling": "statistics",
    }
    path = write_tiny_config(tmp_path / "shuffled.yaml", data, model=model)
    train.main(["--config", str(path)])
    oof = pd.read_csv(tmp_path / "outputs" / "shuffled" / "oof.csv").set_index("id")
    columns = [name for name in oof.columns if name.startswith("p_")]
    truth = table.set_index("id").loc[oof.index, "label"]
    names = [name.removeprefix("p_") for name in columns]
    hits = np.array(names)[oof[columns].to_numpy().argmax(1)] == np.array(
        [LABELS[int(label)] if not isinstance(label, str) else label for label in truth]
    )
    assert hits.mean() < 0.3, "chance is 0.17"
