from spatialbook.ambisonics.evaluate import evaluate_seed

if __name__ == "__main__": evaluate_seed()
