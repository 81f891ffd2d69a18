"""Reading checkpoints: layouts, weights, adapters, tokenizers, published prompts."""
