# BVLC Caffe with the layers of this project, and everything `make demo` and `make test` need.
#   docker build -t stal --build-arg DEVICE=cpu .
#   docker run -v "$PWD/data:/stal/data" -v "$PWD/snapshots:/stal/snapshots" stal caffe train -solver prototxt/solver_ilids.prototxt
FROM debian:bookworm-slim
ARG DEVICE=cpu
ENV DEVICE=${DEVICE} STAL_CACHE=/opt/stal-caffe PATH=/stal/.venv/bin:${PATH} LANG=C.UTF-8
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
