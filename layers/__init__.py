"""The method's layers, a folder each: C++ and CUDA sources, and the twin, a Caffe Python layer in NumPy."""
