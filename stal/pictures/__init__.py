"""Pictures of what a trained net does, drawn with OpenCV: one subject a module, none of them needs Caffe.

Every picture is (H, W, 3) uint8 BGR; :func:`stal.pictures.canvas.write_png` writes it.
"""
