"""What the contenders that run on PyTorch have in common."""

import importlib
import importlib.util
from unittest import mock

from benchmarks.contender import Unavailable


def setup(threads: int):
    """PyTorch, limited to `threads`."""
    if importlib.util.find_spec("torch") is None:
        raise Unavailable("the package torch is not installed")
    import torch

    torch.set_num_threads(threads)
    torch.set_num_interop_threads(threads)
    torch.manual_seed(0)
    return torch


def import_timm():
    """timm, also where torchvision was built for another PyTorch.

    Then torchvision's detection operators are missing, and it fails on describing them. No classifier uses them.
    """
    for package in ("timm", "torchvision"):
        if importlib.util.find_spec(package) is None:
            raise Unavailable(f"the package {package} is not installed")
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        with mock.patch("torch.library.register_fake", lambda *_, **__: lambda function: function):
            importlib.import_module("torchvision")
    import timm

    return timm


def compiled(torch, contender, function):
    """`function`, through `torch.compile` where the contender's form asks for it, and with its weights as constants."""
    if contender.form == "compiled_frozen":
        importlib.import_module("torch._inductor.config").freezing = True
    return torch.compile(function) if contender.form in ("compiled", "compiled_frozen") else function


def inference_step(torch, model, contender):
    """`batch size -> step` for the forward pass."""
    dtype = getattr(torch, contender.precision)
    model = compiled(torch, contender, model.eval().to(dtype))

    def prepare(batch):
        x = torch.randn(batch, 3, *_size(model, contender), dtype=dtype)

        def step():
            with torch.inference_mode():
                return model(x)

        return step

    return prepare


def training_step(torch, model, contender):
    """`batch size -> step` for forward, backward and AdamW; bfloat16 as automatic mixed precision."""
    model.train()
    forward = compiled(torch, contender, model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05, fused=True)
    mixed = contender.precision != "float32"

    def prepare(batch):
        x = torch.randn(batch, 3, *_size(model, contender))
        y = torch.zeros(batch, dtype=torch.long)

        def step():
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
                loss = torch.nn.functional.cross_entropy(forward(x), y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            return loss.item()

        return step

    return prepare


def matmul(contender):
    """`size -> step` for the machine's measure: one product of two square matrices of that size."""
    torch = setup(contender.threads)

    def prepare(size):
        a = torch.randn(size, size, dtype=getattr(torch, contender.precision))

        def step():
            with torch.inference_mode():
                return a @ a

        return step

    return prepare


def _size(model, contender):
    return (contender.image_size,) * 2 if contender.image_size else model.default_cfg["input_size"][1:]
