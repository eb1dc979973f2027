from spatialbook.binaural.seed_evaluate import evaluate_audio

if __name__ == "__main__": evaluate_audio()
