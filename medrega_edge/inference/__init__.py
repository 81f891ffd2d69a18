"""onnxruntime sessions, the language model in front of them, grammars, decoding and confidence."""
