"""A head that is solved: to the optimum, on the training part alone, and at chance where labels are shuffled."""

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
from ser.models.encoder.solved_head import TEMPERATURES, solve
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
    logits = reference.decision_function(features)
    logits -= logits.mean(1, keepdims=True)
    ours = logits_of(solution, features)
    factor = ours.std() / logits.std()
    np.testing.assert_allclose(ours, factor * logits, atol=1e-6 * np.abs(ours).max())
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


def test_a_label_without_clips_never_wins_and_two_labels_have_two_logits():
    pooled, truth = clips_of(labels=2)
    solution = solve(pooled, truth, 4, None, sum_layers=False, balanced=False, seed=0)
    answers = logits_of(solution, pooled.reshape(len(pooled), -1)).argmax(1)
    assert (answers == truth).mean() > 0.95
    assert set(answers) == {0, 1}


def test_balanced_labels_weigh_alike_however_many_clips_they_have():
    """As scikit-learn has it with equal priors."""
    pooled, truth = clips_of(layers=1, size=20, clips=90, telling=0)
    kept = np.flatnonzero((truth != 2) | (np.arange(90) % 4 == 0))
    balanced = solve(pooled[kept], truth[kept], 3, None, False, True, seed=0)
    reference = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=balanced.shrinkage, priors=[1 / 3] * 3)
    features = pooled[kept, 0]
    expected = make_pipeline(StandardScaler(), reference).fit(features, truth[kept]).decision_function(features)
    expected -= expected.mean(1, keepdims=True)
    ours = logits_of(balanced, features)
    np.testing.assert_allclose(ours / ours.std(), expected / expected.std(), atol=1e-6)


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
    assert hits.mean() < 0.4, "chance is 0.17"
