"""Tensors that behave as a GPU's do where no GPU is: NumPy gets them only after ``.cpu()``.

torch's own meta device holds no values, so nothing could be computed with it.
"""

from __future__ import annotations

import torch


class Foreign(torch.Tensor):
    """A tensor that refuses NumPy like one on a GPU; results of torch's functions on it refuse it too."""

    def __array__(self, *_, **__):
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")

    def numpy(self, *_, **__):
        return self.__array__()

    def tolist(self):
        return self.cpu().tolist()  # torch copies for this one

    def cpu(self, *_, **__):
        return self.as_subclass(torch.Tensor)


def foreign(tensor: torch.Tensor) -> Foreign:
    """The tensor as if it were on a GPU."""
    return tensor.as_subclass(Foreign)
