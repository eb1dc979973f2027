from spatialbook.ambisonics.download import main

if __name__ == "__main__": main()
