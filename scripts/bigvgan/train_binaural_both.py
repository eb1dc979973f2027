from spatialbook.vocoder.seed import train_both

if __name__ == "__main__": train_both()
