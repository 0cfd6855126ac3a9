"""`from clipgrid.torchvision_on_cpu import torchvision`: torchvision beside any build of torch.

PyPI's Linux wheels of torchvision are linked to CUDA. Beside a CPU build of torch their compiled
operators don't load, and the import fails where it registers fake kernels for two of them.
Declaring the two first lets models, transforms and data sets work; where the compiled operators
load, nothing needs to be declared.
"""

import torch

try:
    import torchvision
except RuntimeError as error:
    if "torchvision::nms" not in str(error):
        raise
    _library = torch.library.Library("torchvision", "FRAGMENT")
    for _name in ("nms", "qnms"):
        _library.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision

__all__ = ["torchvision"]
