"""Image models of PyTorch: every common way from a feature map to class scores."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from _torch_export import Case, Inputs

BOTH = {"dynamo": 18, "legacy": 13}


def images(n: int = 32, channels: int = 3, size: int = 8) -> Inputs:
    """Seeded images with means that differ between rows, so that pooled features vary."""
    return {"image": torch.randn(n, channels, size, size) + 2 * torch.randn(n, channels, 1, 1)}


def conv(i: int, o: int, k: int = 3, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    return nn.Sequential(nn.Conv2d(i, o, k, stride, k // 2, groups=groups, bias=False), nn.BatchNorm2d(o), nn.ReLU())


class Stem(nn.Module):
    """A backbone, global average pooling, flatten, a linear head."""

    def __init__(self, *layers: nn.Module, p: int, classes: int = 5) -> None:
        super().__init__()
        self.backbone = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(p, classes)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(torch.flatten(self.pool(self.backbone(image)), 1))


class Residual(nn.Module):
    """Two convolutions with a shortcut."""

    def __init__(self, i: int, o: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(i, o, stride=stride), nn.Conv2d(o, o, 3, padding=1, bias=False), nn.BatchNorm2d(o))
        self.shortcut = nn.Conv2d(i, o, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


class Inverted(nn.Module):
    """A MobileNet block: expand, depthwise, squeeze-and-excite, project."""

    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(i, 2 * i, 1), nn.Hardswish(), conv(2 * i, 2 * i, groups=2 * i))
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(2 * i, 2 * i, 1), nn.Hardsigmoid())
        self.project = nn.Conv2d(2 * i, o, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        return self.project(x * self.gate(x))


class Dense(nn.Module):
    """A DenseNet block: the output is concatenated to the input."""

    def __init__(self, i: int, growth: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.BatchNorm2d(i), nn.ReLU(), nn.Conv2d(i, growth, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.body(x)], 1)


class Vgg(nn.Module):
    """Max pooling, flatten, two hidden layers with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(conv(3, 8), nn.MaxPool2d(2), conv(8, 16), nn.MaxPool2d(2))
        self.hidden = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 24), nn.ReLU(), nn.Dropout())
        self.head = nn.Linear(24, 6)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.hidden(torch.flatten(self.features(image), 1)))


class Squeeze(nn.Module):
    """SqueezeNet's end: dropout, 1×1 convolution, maybe ReLU, global pooling."""

    def __init__(self, *, relu: bool) -> None:
        super().__init__()
        self.features = nn.Sequential(conv(3, 12, stride=2), nn.Dropout())
        self.head = nn.Conv2d(12, 5, 1)
        self.end = nn.ReLU() if relu else nn.Identity()

    def forward(self, image: Tensor) -> Tensor:
        return torch.flatten(F.adaptive_avg_pool2d(self.end(self.head(self.features(image))), 1), 1)


class PoolThenConv(nn.Module):
    """Global pooling, then a 1×1 convolution as head, as RegNet and MobileNet variants do."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(conv(3, 16), nn.AdaptiveAvgPool2d(1))
        self.head = nn.Conv2d(16, 4, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.features(image)).flatten(1)


class FullExtent(nn.Module):
    """A head whose kernel covers the whole map, as fully convolutional VGG and LeNet have."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(conv(3, 6, stride=2), nn.MaxPool2d(2))
        self.head = nn.Conv2d(6, 5, 2)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.features(image)).flatten(1)


class Segmenter(nn.Module):
    """A per-pixel head at half resolution, upsampled where asked."""

    def __init__(self, *, upsample: bool) -> None:
        super().__init__()
        self.upsample = upsample
        self.features = nn.Sequential(conv(3, 8), conv(8, 10, stride=2))
        self.head = nn.Conv2d(10, 4, 1)

    def forward(self, image: Tensor) -> Tensor:
        scores = self.head(self.features(image))
        return F.interpolate(scores, scale_factor=2, mode="bilinear", align_corners=False) if self.upsample else scores


class ChannelsLast(nn.Module):
    """ConvNeXt's habits: NHWC inside a block, GELU, layer norm before the head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 2, 2)
        self.norm, self.wide, self.narrow = nn.LayerNorm(12), nn.Linear(12, 24), nn.Linear(24, 12)
        self.last, self.head = nn.LayerNorm(12), nn.Linear(12, 5)

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(image).permute(0, 2, 3, 1)
        x = x + self.narrow(F.gelu(self.wide(self.norm(x))))
        return self.head(self.last(x.mean((1, 2))))


class Vit(nn.Module):
    """A vision transformer that reads its class token, or the mean of all."""

    def __init__(self, *, mean: bool = False) -> None:
        super().__init__()
        self.mean = mean
        self.patch = nn.Conv2d(3, 16, 4, 4)
        self.token, self.places = nn.Parameter(torch.zeros(1, 1, 16)), nn.Parameter(torch.zeros(1, 5, 16))
        self.block = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True, activation="gelu")
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 7)

    def forward(self, image: Tensor) -> Tensor:
        patches = self.patch(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(image.shape[0], -1, -1), patches], 1) + self.places
        x = self.norm(self.block(x))
        return self.head(x.mean(1) if self.mean else x[:, 0])


class Mixer(nn.Module):
    """MLP-Mixer: matrix products over tokens and over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.tokens, self.channels = nn.Conv2d(3, 12, 2, 2), nn.Linear(16, 16), nn.Linear(12, 12)
        self.norm, self.head = nn.LayerNorm(12), nn.Linear(12, 5)

    def forward(self, image: Tensor) -> Tensor:
        x = self.patch(image).flatten(2)
        x = (x + F.gelu(self.tokens(x))).transpose(1, 2)
        return self.head(self.norm(x + F.gelu(self.channels(x))).mean(1))


class Autoencoder(nn.Module):
    """Encoder and decoder of linear layers: the last one reconstructs."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3), nn.ReLU(), nn.Linear(3, 9), nn.ReLU())
        self.head = nn.Linear(9, 12)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.encoder(image.flatten(1))).view_as(image)


class NoLinear(nn.Module):
    """A convolutional network that ends in a 3×3 convolution, or restores an image: nothing to measure."""

    def __init__(self, *, restore: bool) -> None:
        super().__init__()
        self.restore = restore
        self.body = nn.Sequential(conv(3, 8), nn.Conv2d(8, 3, 3, padding=1))

    def forward(self, image: Tensor) -> Tensor:
        x = self.body(image)
        return image + x if self.restore else x.mean((2, 3))


class Generator(nn.Module):
    """A linear layer at the start, transposed convolutions behind it: the trap is the only linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Linear(12, 8 * 4)
        self.body = nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(8, 8, 2, 2), nn.ReLU(), nn.ConvTranspose2d(8, 3, 2, 2), nn.Tanh())

    def forward(self, image: Tensor) -> Tensor:
        return self.body(self.start(image.flatten(1)).view(-1, 8, 2, 2))


class Detector(nn.Module):
    """One head per scale, concatenated, as YOLO does."""

    def __init__(self) -> None:
        super().__init__()
        self.low, self.high = conv(3, 8, stride=2), conv(8, 12, stride=2)
        self.small, self.large = nn.Conv2d(8, 6, 1), nn.Conv2d(12, 6, 1)

    def forward(self, image: Tensor) -> Tensor:
        low = self.low(image)
        scales = [self.small(low), self.large(self.high(low))]
        return torch.cat([s.flatten(2) for s in scales], 2).sigmoid()


def cases() -> list[Case]:
    """All image models."""
    def stem(*layers: nn.Module, p: int) -> nn.Module:
        return Stem(*layers, p=p)

    few = lambda: images(3, size=8)
    pixels = {"read": "position"}
    relu = "A nonlinearity stands between convolution and pooling: rows are positions."
    return [
        Case("cnn", lambda: stem(conv(3, 8), nn.MaxPool2d(2), conv(8, 16), p=16), images, exporters=BOTH),
        Case("resnet", lambda: stem(conv(3, 8), Residual(8, 8, 1), Residual(8, 16, 2), p=16), images, exporters={"dynamo": 21, "legacy": 11}),
        Case("vgg", Vgg, images, exporters={"dynamo": 18, "legacy": 9}),
        Case("mobilenet", lambda: stem(conv(3, 8), Inverted(8, 16), nn.Hardswish(), p=16), images, exporters={"legacy": 14}),
        Case("densenet", lambda: stem(nn.Conv2d(3, 6, 3), Dense(6, 4), Dense(10, 4), nn.BatchNorm2d(14), nn.ReLU(), p=14), images),
        Case("squeezenet", lambda: Squeeze(relu=True), few, read="position", exporters=BOTH, more={"notes": relu}),
        Case("squeezenet_linear", lambda: Squeeze(relu=False), images, read="pooled", exporters=BOTH),
        Case("pool_then_conv", PoolThenConv, images, exporters=BOTH, read="pooled"),
        Case("full_extent_conv", FullExtent, images, read="full_extent", more={
            "notes": "The kernel covers the whole map: a linear layer over the flattened map."}),
        Case("segmentation", lambda: Segmenter(upsample=False), few, exporters=BOTH, **pixels),
        Case("segmentation_upsampled", lambda: Segmenter(upsample=True), few, exporters={"legacy": 16}, **pixels),
        Case("convnext", ChannelsLast, images, exporters={"dynamo": 22}),
        Case("vit", Vit, images, exporters={"dynamo": 20, "legacy": 17}),
        Case("vit_mean", lambda: Vit(mean=True), images),
        Case("mixer", Mixer, images, exporters={"legacy": 15}),
        Case("max_pooled", lambda: nn.Sequential(conv(3, 12), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(12, 5)), images, heads=("3",)),
        Case("autoencoder", Autoencoder, lambda: images(32, size=2)),
        Case("convnet_without_linear", lambda: NoLinear(restore=False), images, heads=(), more={"notes": "Ends in a 3×3 convolution."}),
        Case("image_restoration", lambda: NoLinear(restore=True), images, heads=(), exporters={"legacy": 17}),
        Case("generator", Generator, lambda: images(32, size=2), heads=(), more={"notes": "A linear layer first, convolutions last."}),
        Case("detector", Detector, images, heads=(), exporters=BOTH, more={"notes": "Two scales of one head, concatenated."}),
    ]
