from spatialbook.binaural.seed_generate import generate_real

if __name__ == "__main__": generate_real()
