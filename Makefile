# `make demo` and `make test` are the two commands of this project; README.md says what they do and how long they take.
SHELL := /bin/bash
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# cpu or gpu; CUDA_ARCHS="90" or "75 80" narrows what the latter is compiled for.
export DEVICE ?= cpu

.PHONY: caffe demo demo-data demo-seeds demo-pose test test-caffe test-kernels nets image bundle clean

# Builds BVLC Caffe with the layers of layers/ and installs it into .venv.
caffe:
	@command -v python3 >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends python3; }
	python3 caffe-build/build.py

# Synthetic people -> training -> features -> CMC of Baseline, TAN, SAN, STAL, in out/demo.
demo: caffe
	python tools/demo.py

# Only the demo's data, for `caffe train -solver prototxt/solver_demo.prototxt`.
demo-data: caffe
	python tools/demo.py --data-only

# `make demo` over three seeds, for the paired comparison in README.md.
demo-seeds: caffe
	python tools/demo.py --seeds 1 2 3

# The pose net on the demo's people: pre-training, then refinement inside the STAL net.
demo-pose: caffe
	python tools/pose_demo.py

# Everything: BVLC's tests and ours in C++, ours in Python, the currentness of prototxt/.
test: test-caffe test-kernels
	python -m prototxt.generate --check
	python -m pytest

# BVLC's own tests and the layers' tests, with DEVICE=gpu those on the GPU too. They read data by paths relative to Caffe's
# source tree. Gradients are checked by differences, for which TF32 is too coarse. Convolutions run once more with
# algorithms that repeat bit by bit, which are then required to.
test-caffe: caffe
	program=$$(python3 caffe-build/build.py --tests) && libraries=$$(python3 caffe-build/cuda.py) && \
	cd $$(dirname $$program)/source && export LD_LIBRARY_PATH=$$libraries CAFFE_TF32=0 GLOG_minloglevel=2 && \
	$$program --gtest_filter=$(if $(filter cpu,$(DEVICE)),-*GPU*,*) --gtest_shuffle \
	$(if $(filter gpu,$(DEVICE)),&& CAFFE_DETERMINISTIC=1 $$program --gtest_filter='CaffeOnGpuTest*')

# The same tests on the GPU's code without a GPU: the kernels run on the CPU (caffe-build/emulation/README.md),
# solvers also over two GPUs. Left out are gradients of a layer that no net here has, which take six minutes.
test-kernels:
	program=$$(python3 caffe-build/build.py --device emulated --tests) && cd $$(dirname $$program)/source && \
	export STAL_EMULATED_GPUS=2 CAFFE_TF32=0 GLOG_minloglevel=2 && \
	$$program --gtest_filter=-Im2colLayerTest*ForceND* --gtest_shuffle && \
	CAFFE_DETERMINISTIC=1 $$program --gtest_filter='CaffeOnGpuTest*'

# Writes prototxt/*.prototxt anew.
nets: caffe
	python -m prototxt.generate

image:
	docker build -t stal --build-arg DEVICE=$(DEVICE) .

# The build in .venv as one archive in build/, for machines without Docker (caffe-build/README.md).
bundle: caffe
	python3 caffe-build/bundle.py

# Removes what is built in the checkout. Data, trained weights and results (data/, snapshots/, out/) stay.
clean:
	rm -rf .venv build *.egg-info
