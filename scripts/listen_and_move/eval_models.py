from spatialbook.sound2video.seed_evaluate import eval_models

if __name__ == "__main__": eval_models()
