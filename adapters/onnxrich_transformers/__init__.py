"""Hugging Face transformers for onnxrich: models with the processors of their inputs.

- A model is a `PreTrainedModel`, a pair of it and its tokenizer, image processor or feature extractor, or a folder that
  `save_pretrained` wrote. By default the processor is read from the folder that the model was loaded from.
- Items are what the processor takes (texts, images, sounds; alone, in pairs with a label, or in mappings under `text`,
  `image` or `audio`, labels under `label` or `labels`), or what the model takes, as tensors.
- Weights are read only from safetensors on this disk, and no code of the folder is run.
- Tokens are padded to the longest text, and the attention mask leaves the padding out.
- Importing this package imports neither PyTorch nor transformers.
"""

from onnxrich_transformers.adapter import batches, callback, forward, is_native, load, notices, to_onnx, weights

__all__ = ["batches", "callback", "forward", "is_native", "load", "notices", "to_onnx", "weights"]
