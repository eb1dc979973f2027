from spatialbook.binaural.seed_generate import generate_fairplay

if __name__ == "__main__": generate_fairplay()
