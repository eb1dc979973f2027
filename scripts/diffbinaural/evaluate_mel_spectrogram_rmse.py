from spatialbook.binaural.seed_evaluate import evaluate_mels

if __name__ == "__main__": evaluate_mels()
