"""TensorFlow and Keras for onnxrich: Keras models of the TensorFlow backend, loaded SavedModels, datasets.

- Inputs of the ONNX model have the names of the Keras inputs, or of the parameters of `call`; "input" where Keras
  generated the name. Outputs have the names of their layers.
- Weights are initializers with the paths that Keras gives them, such as head/kernel. Those of a SavedModel are folded.
- Arrays are cast to the dtype that a functional model declares, as Keras does.
- Data are a batched tf.data.Dataset, a keras.utils.PyDataset, any iterable of (x, y), or arrays. Sample weights are
  ignored.
- tf2onnx lacks the complementary error function of the exact GELU, which is written as 1 − erf.
- Importing this package imports no TensorFlow.
"""

from onnxrich_tensorflow.adapter import batches, callback, forward, is_native, load, to_onnx, weights

__all__ = ["batches", "callback", "forward", "is_native", "load", "to_onnx", "weights"]
