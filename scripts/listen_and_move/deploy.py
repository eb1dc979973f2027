from spatialbook.sound2video.deploy import main

if __name__ == "__main__": main()
