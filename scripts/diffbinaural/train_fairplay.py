from spatialbook.binaural.seed_train import train_fairplay

if __name__ == "__main__": train_fairplay()
