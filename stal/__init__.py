"""What tools/ and data_prep/ share: tracklet lists, feature directories, distances, metrics, protocols.

Only :mod:`stal.caffe_net` imports caffe; everything else runs without a Caffe build.
"""
