from spatialbook.ambisonics.deploy import main

if __name__ == "__main__": main()
