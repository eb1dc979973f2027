from spatialbook.binaural.seed_train import train_real

if __name__ == "__main__": train_real()
