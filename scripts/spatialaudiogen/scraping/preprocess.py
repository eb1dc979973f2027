from spatialbook.ambisonics.preprocess import main

if __name__ == "__main__": main()
