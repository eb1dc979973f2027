from spatialbook.depth.train import teacher_main

if __name__ == "__main__": teacher_main()
