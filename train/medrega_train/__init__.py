"""Training: images and records in, a full-precision InternVL checkpoint in Hugging Face layout out."""

import logging

from medrega_edge.i18n.message import register

register(__name__)
for _name in ("torchao", "torch.utils._pytree"):  # they warn of GPU kernels that nothing here uses
    logging.getLogger(_name).setLevel(logging.ERROR)
