# `make demo` and `make test` are the two commands of this project; README.md says what they do and how long they take.
SHELL := /bin/bash
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: caffe demo demo-data demo-seeds demo-pose test test-caffe nets image clean

# Builds BVLC Caffe with the layers of layers/ and installs it into .venv. DEVICE=cpu.
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
test: test-caffe
	python -m prototxt.generate --check
	python -m pytest

# BVLC's own CPU tests and the layers' tests. They read data by paths relative to Caffe's source tree.
test-caffe: caffe
	program=$$(python3 caffe-build/build.py --tests) && cd $$(dirname $$program)/source && \
	GLOG_minloglevel=2 $$program --gtest_filter=-*GPU* --gtest_shuffle

# Writes prototxt/*.prototxt anew.
nets: caffe
	python -m prototxt.generate

image:
	docker build -t stal --build-arg DEVICE=cpu .

# Removes what is built in the checkout. Data, trained weights and results (data/, snapshots/, out/) stay.
clean:
	rm -rf .venv build *.egg-info
