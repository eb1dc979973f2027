import os

# Before torch is imported anywhere: tests must neither fight for cores nor reach for a network.
for key, value in dict(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", IN_TEST="1", MPLBACKEND="agg", TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1", SPATIALBOOK_QUIET="1").items():
    os.environ.setdefault(key, value)
