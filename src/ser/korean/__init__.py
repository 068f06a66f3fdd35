"""Korean speech emotion as a library: train on a folder of emotions, predict, evaluate.

    from ser.korean import create_inference_engine, create_trainer, load_dataset_from_directory

    paths, labels = load_dataset_from_directory("data/emotions")
    create_trainer().train(train_data=(paths, labels))
    engine = create_inference_engine("outputs/xlsr_korean_15")
    print(engine.predict_single("clip.wav")["predicted_emotion_ko"])

Each call is a short way into what the commands use too; docs/korean.md describes them.
"""

from ser.korean.inference import InferenceEngine, Prediction, create_inference_engine

__all__ = ["InferenceEngine", "Prediction", "create_inference_engine"]
