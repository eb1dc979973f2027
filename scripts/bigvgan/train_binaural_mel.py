from spatialbook.vocoder.seed import train_mel

if __name__ == "__main__": train_mel()
