"""Keys of the models, one class for each kind."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from jsonargparse.typing import ClosedUnitInterval, NonNegativeFloat, PositiveFloat, PositiveInt

from ser.config.explaining import plain_value
from ser.config.ranges import HalfOpenUnit, PlainValue
from ser.runtime.errors import UserError


@dataclass
class ClassicalConfig:
    """Features of whole clips and a scikit-learn classifier. It is fitted in one go: of the section train only
    augmented_copies is read, which the section augment serves."""

    features: list[Literal["functionals", "aligned", "librosa", "egemaps", "compare", "encoder"]] = field(
        default_factory=lambda: ["functionals"]
    )
    """functionals: 2736 statistics of pitch, spectrum and rhythm. aligned: the same frames laid over one template; for clips that all say
    nearly the same text. librosa: plain means and deviations. egemaps, compare: openSMILE's sets (requirements-opensmile.txt; research
    only). encoder: means and deviations over time of the hidden layers of the pretrained encoder model.name. Several are weighed
    equally."""
    encoder_layers: list[PositiveInt] | None = None
    """Transformer layers whose outputs encoder takes: 1 is the first; null takes all."""
    classifier: Literal["kernel_ridge", "svm", "svm_rbf", "logistic"] = "kernel_ridge"
    """kernel_ridge: ridge regression with a Gaussian kernel. svm: linear support vector machine. svm_rbf: with a Gaussian kernel."""
    alpha: PositiveFloat = 0.07
    """Regularisation of kernel_ridge; more is smoother."""
    c: PositiveFloat = 10.0
    """Inverse regularisation of svm, svm_rbf and logistic; less is smoother."""
    speaker_normalization: Literal["none", "known", "found", "found_in_training"] = "none"
    """Features less their speaker's mean, by the speaker's spread. known: speakers by the names given (clips without one: all voices).
    found: the voices of the clips to predict are clustered together with the training clips', without any labels of theirs: transductive,
    an answer depends on which clips are given with it. The training clips' speakers are those named, else found too (voices ge2e).
    found_in_training: voices are clustered among the training clips alone, without names (voices ge2e), and a new clip is taken for the
    nearest of them, or for none where none is near: nothing of the test clips is used, and no answer depends on other clips."""
    voices: Literal["features", "ge2e"] = "features"
    """What voices are told apart by. features: by the features themselves. ge2e: by pretrained speaker embeddings beside them
    (requirements-speakers.txt)."""

    def __post_init__(self) -> None:
        if not self.features or len(set(self.features)) < len(self.features):
            raise UserError(f"model.classical.features: given {plain_value(self.features)}; name at least one, each once.")


@dataclass
class MfccCnnConfig:
    """MFCC(40) and a 2-D convolutional network."""

    channels: list[PositiveInt] = field(default_factory=lambda: [16, 32, 64, 128])
    """Channels of each block; every block halves time and coefficients."""
    dropout: HalfOpenUnit = 0.2
    """Dropout of whole channels after each block."""


@dataclass
class LogmelCrnnConfig:
    """Log-mel spectrogram, a 2-D convolutional network and a bidirectional GRU over its frames."""

    channels: list[PositiveInt] = field(default_factory=lambda: [16, 32, 64, 64])
    """Channels of each block; every block halves the mel bands, the first two halve time."""
    hidden: PositiveInt = 64
    """Units of the GRU, each direction."""
    dropout: HalfOpenUnit = 0.2
    """Dropout of whole channels after each block."""


@dataclass
class MfccLstmDeltaConfig:
    """13 MFCC of up to 100 frames as differences to a neutral voice, Conv1D and a bidirectional LSTM."""

    baseline: Literal["pooled", "gender", "speaker"] = "pooled"
    """Whose neutral clips a clip is compared with: everybody's, its gender's (`data.speakers` with a column gender), its speaker's."""
    channels: PositiveInt = 64
    """Channels of the convolutions."""
    hidden: PositiveInt = 64
    """Units of the LSTM, each direction."""
    dropout: HalfOpenUnit = 0.3
    """Dropout between convolutions and LSTM."""


@dataclass
class TextEncoderConfig:
    """A transformers text encoder with its classification head; texts are the table's column `text` or `data.transcripts`."""

    name: str = "klue/roberta-base"
    """Hub name or local folder of any transformers text encoder (RoBERTa, BERT, ELECTRA, DistilBERT, ...)."""
    from_scratch: dict[str, PlainValue] | None = None
    """Build the network from these transformers config keys with random weights, and learn its tokenizer from the training texts of
    the fold; needs no network."""
    vocabulary: PositiveInt = 2000
    """Most tokens of a tokenizer learnt from scratch."""
    max_tokens: PositiveInt = 256
    """Longer texts are cut to their first tokens."""
    freeze: Literal["none", "embeddings", "encoder"] = "none"
    """Which part keeps its weights: nothing, the embeddings, or all but the head."""


@dataclass
class TextNgramsConfig:
    """n-grams of letters and of their parts (jamo), emotion words, and ridge regression. It is fitted in one go: the section train
    isn't read."""

    least_texts: PositiveInt = 2
    """n-grams in fewer texts are left out."""
    alpha: PositiveFloat = 2.0
    """Regularisation; more is smoother."""
    word_weight: NonNegativeFloat = 0.05
    """Weight of the emotions' shares of a Korean list of emotion words; 0 leaves them out."""


@dataclass
class FusionConfig:
    """Late fusion of voice and words: pooled audio features and a frozen text encoder, side by side into a small network."""

    audio: Literal["mfcc", "functionals", "librosa", "egemaps", "compare"] = "mfcc"
    """mfcc: the mean of MFCC(40) over the clip. The others: features of whole clips, as model.classical.features has them."""
    text: Literal["encoder", "ngrams"] = "encoder"
    """encoder: output of a frozen text encoder at its first token. ngrams: n-grams of letters in a few dimensions, without download."""
    text_encoder: str = "kykim/bert-kor-base"
    """Hub name or local folder of any transformers text encoder; the model folder of a trained text_encoder too."""
    max_tokens: PositiveInt = 256
    """Longer texts are cut to their first tokens."""
    ngram_size: PositiveInt = 64
    """Dimensions of ngrams."""
    hidden: list[PositiveInt] = field(default_factory=lambda: [256, 128])
    """Units of each hidden layer; model.head_dropout is their dropout."""
    text_dropout: HalfOpenUnit = 0.2
    """Share of the clips in training whose words are hidden, so that the audio alone can decide where a transcript is missing."""


@dataclass
class ModelConfig:
    """Model: which network, and which parts of it are trained."""

    kind: Literal["encoder", "mfcc_cnn", "logmel_crnn", "mfcc_lstm_delta", "classical", "text_encoder", "text_ngrams", "fusion"] = "encoder"
    """encoder: a transformers audio encoder with a classification head. mfcc_cnn, logmel_crnn, mfcc_lstm_delta: networks on spectral
    features, from scratch. classical: features of whole clips and scikit-learn. text_encoder, text_ngrams: models of
    texts. fusion: of audio and text."""
    name: str = "facebook/wav2vec2-base"
    """Hub name or local folder of any transformers audio encoder (Wav2Vec2, HuBERT, WavLM, data2vec-audio, Whisper, ...)."""
    from_scratch: dict[str, PlainValue] | None = None
    """Build the network from these transformers config keys (model_type and sizes) with random weights; needs no network."""
    pooling: Literal["mean", "statistics", "attentive"] = "mean"
    """Over a clip's own frames. mean: the hub's own head (loads in transformers' pipeline). statistics: mean and deviation; attentive:
    attentive statistics (both load through ser). The first two start from the head that discriminant analysis finds on the encoder's
    outputs, and a frozen encoder stays with it."""
    layer_weights: bool = False
    """All hidden layers instead of the last one. mean, attentive: a weighted sum, learned, which begins with
    equal say for each. statistics: side by side."""
    freeze: Literal["none", "feature_encoder", "encoder"] = "feature_encoder"
    """Which part keeps its weights: nothing, the convolutional feature encoder, or the whole encoder."""
    train_last_layers: PositiveInt | None = None
    """Train only this many of the last transformer layers (and the head). Where nothing changes the clips (no augment, mixup, SpecAugment)
    and layer_weights is off, what the layers below make of a clip is computed once and kept in the cache."""
    lora_rank: PositiveInt | None = None
    """Train low-rank adapters of this rank in place of the encoder's weights (all layers, or the last model.train_last_layers); what is
    saved has them merged."""
    lora_modules: list[str] = field(default_factory=lambda: ["q_proj", "v_proj"])
    """Linear modules of a layer that get an adapter, by the end of their names; fc1 and fc2 are Whisper's feed-forward network."""
    layer_drop: ClosedUnitInterval = 0.0
    """Probability of skipping a transformer layer in training."""
    mask_time_prob: ClosedUnitInterval = 0.05
    """SpecAugment: share of time steps masked in training."""
    mask_feature_prob: ClosedUnitInterval = 0.0
    """SpecAugment: share of feature channels masked in training."""
    head_dropout: HalfOpenUnit = 0.1
    """Dropout before the last linear layer."""
    gradient_checkpointing: bool = False
    """Trade a third of the speed for much less memory."""
    mfcc_cnn: MfccCnnConfig = field(default_factory=MfccCnnConfig)
    logmel_crnn: LogmelCrnnConfig = field(default_factory=LogmelCrnnConfig)
    mfcc_lstm_delta: MfccLstmDeltaConfig = field(default_factory=MfccLstmDeltaConfig)
    classical: ClassicalConfig = field(default_factory=ClassicalConfig)
    text_encoder: TextEncoderConfig = field(default_factory=TextEncoderConfig)
    text_ngrams: TextNgramsConfig = field(default_factory=TextNgramsConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)
