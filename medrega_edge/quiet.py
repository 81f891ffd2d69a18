"""Loggers of libraries that speak of what nobody here uses; knows names, and imports none of them.

transformers imports torchao where that is installed (gptqmodel brings it): it warns that its kernels for GPUs do not load on
this machine, and torch that torchao registers its types in an old way. Neither is the doing or the business of who trains or
exports. Errors of both still come through.
"""

import logging

LOGGERS = ("torchao", "torch.utils._pytree")


def hush() -> None:
    """Show only errors of these loggers; to be called before torch and transformers are imported."""
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
