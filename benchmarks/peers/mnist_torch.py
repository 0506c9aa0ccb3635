"""PyTorch on MNIST, as a user would write it who knows it well.

One thread; the whole data set is one uint8 tensor, so that a batch is one gather and no ``DataLoader`` costs anything;
fused Adam with a one-cycle learning rate; channels last for convolutions; bfloat16 where the processor multiplies it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.peers import mnist_arrays

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.contender import Report

ROTATION, SCALE, SHEAR, SHIFT = 8.0, 0.08, 0.1, 1.0
"""Largest values of the random affine distortion, either way, as in preset ``mnist``: degrees, shares, pixels."""


@dataclass(frozen=True)
class Setup:
    """How a model is trained.

    Attributes
    ----------
    model : callable
        Returns the network.
    batch : int
    lr : float
        The highest of the cycle.
    affine : bool
        Whether each batch is distorted anew.
    smoothing : float
        Label smoothing.
    warm : float
        Share of the steps in which the learning rate rises.
    bfloat16 : bool
        Whether to use bfloat16 where the processor has instructions for it.
    decay : float
        Weight decay.
    """

    model: Callable[[], nn.Module]
    batch: int
    lr: float
    affine: bool = False
    smoothing: float = 0.0
    warm: float = 0.3
    bfloat16: bool = False
    decay: float = 0.0


def mlp() -> nn.Module:
    """Return the network of preset ``mnist``, 784-400-100-10."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 400), nn.ReLU(), nn.Linear(400, 100), nn.ReLU(), nn.Linear(100, 10)
    )


def strided_cnn(a: int = 16, b: int = 32, k: int = 5) -> nn.Module:
    """Return two convolutions that each halve the image: the least work for 99 %."""
    return nn.Sequential(
        nn.Conv2d(1, a, k, stride=2, padding=k // 2, bias=False),
        nn.BatchNorm2d(a),
        nn.ReLU(),
        nn.Conv2d(a, b, k, stride=2, padding=k // 2, bias=False),
        nn.BatchNorm2d(b),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(b * 49, 10),
    )


def cnn(a: int = 16, b: int = 32, c: int = 64) -> nn.Module:
    """Return three convolutions of 3x3 with pooling between them."""
    return nn.Sequential(
        nn.Conv2d(1, a, 3, padding=1, bias=False),
        nn.BatchNorm2d(a),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(a, b, 3, padding=1, bias=False),
        nn.BatchNorm2d(b),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(b, c, 3, padding=1, bias=False),
        nn.BatchNorm2d(c),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(c * 9, 10),
    )


def train(setup: Setup, folder: str, seed: int, epochs: int, report: Report) -> None:
    """Train a model."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    images, labels = (torch.from_numpy(array) for array in mnist_arrays.train(folder))
    images = images.view(-1, 1, 28, 28)
    model = setup.model().to(memory_format=torch.channels_last)
    half = setup.bfloat16 and has_bfloat16()
    batch = min(setup.batch, len(images))
    steps = len(images) // batch
    optimizer = torch.optim.AdamW(model.parameters(), lr=setup.lr, fused=True, weight_decay=setup.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, setup.lr, steps * epochs, pct_start=setup.warm)

    def predict(given: np.ndarray) -> Any:
        model.eval()
        with torch.inference_mode():
            x = torch.from_numpy(given).view(-1, 1, 28, 28)
            classes = [model(standardised(part)).argmax(1) for part in x.split(1000)]
        model.train()
        return torch.cat(classes).numpy()

    for _ in range(epochs):
        order = torch.randperm(len(images))
        for step in range(steps):
            chosen = order[step * batch : (step + 1) * batch]
            x = images[chosen].float()
            if setup.affine:
                x = distorted(x)
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                loss = functional.cross_entropy(model(standardised(x)), labels[chosen], label_smoothing=setup.smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        report(predict)


def standardised(images: torch.Tensor) -> torch.Tensor:
    """Return the images with mean 0 and deviation 1 over the training set."""
    return (images.float() - 33.3) * (1 / 78.6)


def distorted(images: torch.Tensor) -> torch.Tensor:
    """Return each image turned, scaled, slanted and moved at random."""
    n = len(images)
    turn, wide, high, slant, right, down = 2 * torch.rand(6, n) - 1
    turn = turn * (ROTATION * np.pi / 180)
    wide, high, slant = 1 + SCALE * wide, 1 + SCALE * high, SHEAR * slant
    cos, sin = torch.cos(turn), torch.sin(turn)
    theta = torch.stack(
        [
            wide * cos,
            wide * (slant * cos - sin),
            right * SHIFT / 14,
            high * sin,
            high * (slant * sin + cos),
            down * SHIFT / 14,
        ]
    )
    grid = functional.affine_grid(theta.T.reshape(n, 2, 3), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def has_bfloat16() -> bool:
    """Return whether the processor multiplies bfloat16; emulated it is slower than float32."""
    info = Path("/proc/cpuinfo")
    return info.is_file() and "avx512_bf16" in info.read_text()


plain_mlp = partial(train, Setup(mlp, batch=128, lr=0.003))
distorted_mlp = partial(train, Setup(mlp, batch=128, lr=0.003, affine=True, smoothing=0.05))
small_cnn = partial(train, Setup(strided_cnn, batch=128, lr=0.02, bfloat16=True))
deeper_cnn = partial(train, Setup(cnn, batch=128, lr=0.02, bfloat16=True))
distorted_cnn = partial(train, Setup(cnn, batch=128, lr=0.02, affine=True, bfloat16=True))
