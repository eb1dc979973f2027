from spatialbook.depth.train import published_main

if __name__ == "__main__": published_main()
