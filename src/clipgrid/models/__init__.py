"""AlexNet, VGG and ResNet at any input size from 8 px and any width.

At 224 px and width 1 they are torchvision's models: same layers, same names of parameters.
Two rules fit them to small images: below 64 px the stem is the one usual for small images
(AlexNet 5x5, ResNet 3x3 without pooling), and a pooling layer that would leave no pixel is
left out. Channels are scaled by `width`, the architecture is not changed.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

SMALL = 64  # px; below it the ImageNet stems would throw most of the image away


def build(name: str, channels: int, size: int, classes: int, width: float = 1.0) -> nn.Module:
    """The network `name` for images of shape [channels, size, size].

    Its initial weights come from torch's global generator. ValueError for an unknown name.
    """
    for family, depths in FAMILIES.items():
        if name in depths:
            return family(depths[name], channels, size, classes, scaled(width))
    raise ValueError(f"unknown model {name!r}")


def classifier(model: nn.Module) -> nn.Linear:
    """The layer that makes the logits: the last linear one."""
    return [module for module in model.modules() if isinstance(module, nn.Linear)][-1]


def cost(name: str, size: int) -> dict[str, int]:
    """What one image of shape [3, size, size] takes in the network `name` of width 1, 10 classes:
    multiply-adds and activations (values; all layers', and the largest one's) of a forward pass,
    layers, parameters."""
    from torch.utils.flop_counter import FlopCounterMode

    outputs: list[int] = []
    with torch.device("meta"):
        model = build(name, 3, size, 10).eval()
        for module in model.modules():
            if not list(module.children()) and not isinstance(module, nn.Identity):
                module.register_forward_hook(lambda _, __, output: outputs.append(output.numel()))
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(1, 3, size, size))
    return {
        "multiply_adds": counter.get_total_flops() // 2,
        "activations": sum(outputs),
        "largest_activation": max(outputs),
        "layers": len(outputs),
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def scaled(width: float) -> Callable[[int], int]:
    """Channel counts times `width`, rounded."""
    return lambda channels: round(channels * width)


def out_size(size: int, kernel: int, stride: int, padding: int = 0) -> int:
    """Side of the map that a convolution or a pooling layer leaves of one of side `size`, px."""
    return (size + 2 * padding - kernel) // stride + 1


def average_pool(size: int, side: int) -> nn.Module:
    """Maps of side `size` averaged to `side`; nothing where they have it, as then CUDA's adaptive
    pooling, which has no deterministic gradient, isn't needed."""
    return nn.Identity() if size == side else nn.AdaptiveAvgPool2d(side)


def kaiming(module: nn.Module) -> None:
    """He et al. 2015, section 2.2: without it, narrow nets without batch norm stay at chance."""
    for m in module.modules():
        if isinstance(m, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
            if m.bias is not None:
                nn.init.zeros_(m.bias)


class AlexNet(nn.Module):
    """Krizhevsky 2014 (the one-column AlexNet): 5 conv and 3 linear layers, dropout, no norm."""

    def __init__(
        self, _: None, channels: int, size: int, classes: int, scale: Callable[[int], int]
    ) -> None:
        super().__init__()
        if size >= SMALL:
            kernel, stride, padding = 11, 4, 2
        else:
            kernel, stride, padding = 5, 2 if size >= 24 else 1, 2
        size = out_size(size, kernel, stride, padding)
        layers: list[nn.Module] = [
            nn.Conv2d(channels, scale(64), kernel, stride, padding),
            nn.ReLU(inplace=True),
        ]

        def pool() -> None:
            nonlocal size
            layers.append(nn.MaxPool2d(3, 2) if size >= 3 else nn.Identity())
            size = out_size(size, 3, 2) if size >= 3 else size

        pool()
        layers += [nn.Conv2d(scale(64), scale(192), 5, padding=2), nn.ReLU(inplace=True)]
        pool()
        for before, after in ((192, 384), (384, 256), (256, 256)):
            layers += [
                nn.Conv2d(scale(before), scale(after), 3, padding=1),
                nn.ReLU(inplace=True),
            ]
        pool()
        self.features = nn.Sequential(*layers)
        side = min(6, size)
        self.avgpool = average_pool(size, side)
        self.classifier = nn.Sequential(
            nn.Dropout(),
            nn.Linear(scale(256) * side * side, scale(4096)),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(scale(4096), scale(4096)),
            nn.ReLU(inplace=True),
            nn.Linear(scale(4096), classes),
        )
        kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


class VGG(nn.Module):
    """Simonyan and Zisserman 2015: stages of 3x3 convolutions, 3 linear layers with dropout."""

    def __init__(
        self,
        config: tuple[tuple[int, ...], bool],
        channels: int,
        size: int,
        classes: int,
        scale: Callable[[int], int],
    ) -> None:
        super().__init__()
        depths, batch_norm = config
        layers: list[nn.Module] = []
        for depth, out in zip(depths, (64, 128, 256, 512, 512), strict=True):
            for _ in range(depth):
                layers.append(nn.Conv2d(channels, scale(out), 3, padding=1))
                if batch_norm:
                    layers.append(nn.BatchNorm2d(scale(out)))
                layers.append(nn.ReLU(inplace=True))
                channels = scale(out)
            layers.append(nn.MaxPool2d(2, 2) if size >= 2 else nn.Identity())
            size = out_size(size, 2, 2) if size >= 2 else size
        self.features = nn.Sequential(*layers)
        side = min(7, size)
        self.avgpool = average_pool(size, side)
        self.classifier = nn.Sequential(
            nn.Linear(scale(512) * side * side, scale(4096)),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(scale(4096), scale(4096)),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(scale(4096), classes),
        )
        kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


class Residual(nn.Module):
    """A residual block: `x + f(x)`, with a 1x1 convolution on the skip where the shape changes."""

    expansion: int

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or before != after:
            self.downsample = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )

    def residual(self, x: Tensor) -> Tensor:
        raise TypeError("BasicBlock and Bottleneck say what the residual is")

    def forward(self, x: Tensor) -> Tensor:
        skip = x if self.downsample is None else self.downsample(x)
        return self.relu(self.residual(x) + skip)


class BasicBlock(Residual):
    """Two 3x3 convolutions (ResNet-18 and -34)."""

    expansion = 1

    def __init__(self, before: int, planes: int, stride: int) -> None:
        super().__init__(before, planes, stride)
        self.conv1 = nn.Conv2d(before, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)

    def residual(self, x: Tensor) -> Tensor:
        return self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))


class Bottleneck(Residual):
    """1x1, 3x3 (with the stride, as torchvision has it), 1x1 (ResNet-50 and deeper)."""

    expansion = 4

    def __init__(self, before: int, planes: int, stride: int) -> None:
        super().__init__(before, 4 * planes, stride)
        self.conv1 = nn.Conv2d(before, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, 4 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * planes)

    def residual(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        return self.bn3(self.conv3(x))


class ResNet(nn.Module):
    """He et al. 2016: four stages of residual blocks with batch norm."""

    def __init__(
        self,
        config: tuple[type[BasicBlock | Bottleneck], tuple[int, ...]],
        channels: int,
        size: int,
        classes: int,
        scale: Callable[[int], int],
    ) -> None:
        super().__init__()
        block, depths = config
        before = scale(64)
        self.conv1: nn.Conv2d
        self.maxpool: nn.Module
        if size >= SMALL:
            self.conv1 = nn.Conv2d(channels, before, 7, 2, 3, bias=False)
            self.maxpool = nn.MaxPool2d(3, 2, 1)
        else:
            self.conv1 = nn.Conv2d(channels, before, 3, 1, 1, bias=False)
            self.maxpool = nn.Identity()
        self.bn1 = nn.BatchNorm2d(before)
        self.relu = nn.ReLU(inplace=True)

        def stage(depth: int, planes: int, stride: int) -> nn.Sequential:
            nonlocal before
            blocks = []
            for i in range(depth):
                blocks.append(block(before, scale(planes), stride if i == 0 else 1))
                before = scale(planes) * block.expansion
            return nn.Sequential(*blocks)

        self.layer1 = stage(depths[0], 64, 1)
        self.layer2 = stage(depths[1], 128, 2)
        self.layer3 = stage(depths[2], 256, 2)
        self.layer4 = stage(depths[3], 512, 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(before, classes)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


_VGG = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}

FAMILIES: dict[type[nn.Module], dict] = {
    AlexNet: {"alexnet": None},
    VGG: {f"vgg{n}{'_bn' * bn}": (d, bn) for n, d in _VGG.items() for bn in (False, True)},
    ResNet: {
        "resnet18": (BasicBlock, (2, 2, 2, 2)),
        "resnet34": (BasicBlock, (3, 4, 6, 3)),
        "resnet50": (Bottleneck, (3, 4, 6, 3)),
        "resnet101": (Bottleneck, (3, 4, 23, 3)),
        "resnet152": (Bottleneck, (3, 8, 36, 3)),
    },
}
