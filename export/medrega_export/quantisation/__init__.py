"""GPTQ: recipe, calibration, on-disk format, sensitivity analysis and bit allocation."""
