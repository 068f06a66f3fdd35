"""Korean speech emotion as a library: train on a folder of emotions, predict, evaluate.

    from ser.korean import ModelEvaluator, create_inference_engine, create_trainer, load_dataset_from_directory

    paths, labels = load_dataset_from_directory("data/emotions")
    create_trainer().train(train_data=(paths, labels))
    print(create_inference_engine("outputs/xlsr_korean_15").predict_single("clip.wav"))

Each call is a short way into what the commands use too; docs/korean.md describes them.
"""

from ser.korean.dataset import SpeechEmotionDataset, load_dataset_from_directory
from ser.korean.engine import InferenceEngine, create_inference_engine
from ser.korean.evaluator import ModelEvaluator
from ser.korean.history import plot_training_history
from ser.korean.logs import setup_logging
from ser.korean.predictions import Prediction
from ser.korean.preprocessing import AudioPreprocessor
from ser.korean.trainer import EmotionTrainer, create_trainer

__all__ = [
    "AudioPreprocessor",
    "EmotionTrainer",
    "InferenceEngine",
    "ModelEvaluator",
    "Prediction",
    "SpeechEmotionDataset",
    "create_inference_engine",
    "create_trainer",
    "load_dataset_from_directory",
    "plot_training_history",
    "setup_logging",
]
