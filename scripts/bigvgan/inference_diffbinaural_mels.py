from spatialbook.vocoder.seed import inference_mels

if __name__ == "__main__": inference_mels()
