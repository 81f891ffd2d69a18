"""Train a full-precision checkpoint from images and records."""

import logging

from medrega_edge.i18n.message import register

register(__name__)
for _name in ("torchao", "torch.utils._pytree"):  # they warn of GPU kernels that nothing here uses
    logging.getLogger(_name).setLevel(logging.ERROR)
