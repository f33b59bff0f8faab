"""The nets and solvers that `caffe` reads, and the program that writes them (python -m prototxt.generate)."""
