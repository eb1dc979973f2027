from spatialbook.sound2video.train import published_main

if __name__ == "__main__": published_main()
