from spatialbook.vocoder.seed import inference_e2e

if __name__ == "__main__": inference_e2e()
