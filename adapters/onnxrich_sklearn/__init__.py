"""scikit-learn for onnxrich: fitted estimators and pipelines, arrays, sparse matrices, data frames of numbers.

- The input of the ONNX model is called X; it is float64, as scikit-learn computes, or float32 where the data are.
- Data are X, or an iterable of X or (X, y). Labels of a classifier become indices into its `classes_`, which is the
  order of the model's outputs.
- Weights are the fitted attributes, named by step and attribute: mlpclassifier/coefs_/0.
- scikit-learn's estimators don't call back while they train: call an `onnxrich.Recorder` after each `partial_fit`.
- Importing this package imports no scikit-learn.
"""

from onnxrich_sklearn.adapter import batches, callback, forward, is_native, load, to_onnx, weights

__all__ = ["batches", "callback", "forward", "is_native", "load", "to_onnx", "weights"]
