# Each command does its own set-up: python3.11, make and git are all a machine needs.
#
#   make install [TORCH=cpu|cuda]   build .venv
#   make demo                       hear a mono video become binaural: data/runs/demo/report.html
#   make lab                        open the book in JupyterLab
#   make test                       everything that CI runs
#   make bench                      run the benchmark cells: data/runs/bench.json
#   make browser                    what the JupyterLab test in a real browser needs (Debian, root)

PYTHON ?= python3.11
HAVE   := $(shell cat .venv/installed 2>/dev/null)
TORCH  ?= $(or $(HAVE),cpu)
BIN    := .venv/bin
export OMP_NUM_THREADS ?= 2
QUIET  := IN_TEST=1 MPLBACKEND=agg PYTHONHASHSEED=0 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1

.PHONY: install demo lab test bench browser prepare clean
.DELETE_ON_ERROR:

install: .venv/installed

# Another build of torch than the one that is there: install again.
ifneq ($(TORCH),$(HAVE))
.PHONY: .venv/installed
endif

# torch first and alone: a later resolver could otherwise replace the CPU build by one with 3 GB of CUDA.
.venv/installed: lock.txt settings.ini setup.py
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --upgrade pip setuptools wheel
ifeq ($(TORCH),cpu)
	$(BIN)/python -m pip install -q "torch==2.13.0+cpu" 2>/dev/null || $(BIN)/python -m pip install -q --extra-index-url https://download.pytorch.org/whl/cpu "torch==2.13.0+cpu" || $(BIN)/python -m pip install -q "torch==2.13.0"
else
	! $(BIN)/python -c "import torch, sys; sys.exit(torch.version.cuda is not None)" 2>/dev/null || $(BIN)/python -m pip uninstall -q -y torch
	$(BIN)/python -m pip install -q "torch==2.13.0"
endif
	$(BIN)/python -m pip install -q -r lock.txt
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	echo $(TORCH) > $@

demo: install
	$(BIN)/spatialbook demo

lab: install
	cd nbs && ../$(BIN)/jupyter lab index.ipynb

test: install
	$(BIN)/spatialbook assets
	$(BIN)/spatialbook assets --for sound2video
	$(BIN)/python tools/nb.py check
	$(QUIET) OMP_NUM_THREADS=1 $(BIN)/python tools/nb.py test
	$(QUIET) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 tests

bench: install
	$(BIN)/python tools/bench.py

browser:
	apt-get update && apt-get install -y --no-install-recommends chromium
	$(BIN)/python -m pip install -q playwright==1.65.2

prepare: install
	$(BIN)/python tools/nb.py push
	$(BIN)/python tools/nb.py readme
	$(BIN)/python tools/nb.py check

clean:
	rm -rf .venv build dist *.egg-info
