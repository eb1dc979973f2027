from spatialbook.ambisonics.train import train_seed

if __name__ == "__main__": train_seed()
