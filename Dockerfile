# BVLC Caffe with the layers of this project, and everything `make demo` and `make test` need.
#   docker build -t stal --build-arg DEVICE=cpu .
#   docker build -t stal --build-arg DEVICE=gpu --build-arg CUDA_ARCHS=90 .    (and docker run --gpus all, for several --ipc=host)
#   docker run -v "$PWD/data:/stal/data" -v "$PWD/snapshots:/stal/snapshots" stal caffe train -solver prototxt/solver_ilids.prototxt
FROM debian:bookworm-slim
ARG DEVICE=cpu
ARG CUDA_ARCHS=
ENV DEVICE=${DEVICE} CUDA_ARCHS=${CUDA_ARCHS} STAL_CACHE=/opt/stal-caffe PATH=/stal/.venv/bin:${PATH} LANG=C.UTF-8
# What NVIDIA's container runtime is to bring from the host.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /stal

# The Debian packages first: they change least.
COPY caffe-build/debian-packages.txt caffe-build/
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends make python3 $(cat caffe-build/debian-packages.txt) \
 && rm -rf /var/lib/apt/lists/*

COPY . .
# With the C++ tests, so that `make test` inside the image only runs them.
RUN python3 caffe-build/build.py --tests
CMD ["bash"]
