from spatialbook.ambisonics.seed_evaluate import main

if __name__ == "__main__": main()
