from spatialbook.sound2video.seed_evaluate import eval_FSD50K

if __name__ == "__main__": eval_FSD50K()
