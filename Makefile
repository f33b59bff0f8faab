# The two commands of this project are `make demo` and `make test`; README.md says what they do.
.PHONY: caffe
caffe:
	python3 caffe-build/build.py
