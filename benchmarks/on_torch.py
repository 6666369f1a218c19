"""What the contenders that run on PyTorch have in common."""

import importlib
import importlib.util
from unittest import mock

from benchmarks.contender import Unavailable

_DEVICES = {"cpu": "cpu", "gpu": "cuda"}


def setup(threads: int, device: str = "cpu"):
    """PyTorch, limited to `threads`, where it has that device."""
    if importlib.util.find_spec("torch") is None:
        raise Unavailable("the package torch is not installed")
    import torch

    torch.set_num_threads(threads)
    torch.set_num_interop_threads(threads)
    torch.manual_seed(0)
    if device == "gpu" and not torch.cuda.is_available():
        raise Unavailable("PyTorch sees no GPU")
    return torch


def import_timm():
    """timm, which needs torchvision."""
    if importlib.util.find_spec("timm") is None:
        raise Unavailable("the package timm is not installed")
    import_torchvision()
    import timm

    return timm


def import_torchvision():
    """torchvision, also where it was built for another PyTorch.

    Then its detection operators are missing, and it fails on describing them. No classifier uses them.
    """
    if importlib.util.find_spec("torchvision") is None:
        raise Unavailable("the package torchvision is not installed")
    try:
        return importlib.import_module("torchvision")
    except RuntimeError:
        with mock.patch("torch.library.register_fake", lambda *_, **__: lambda function: function):
            return importlib.import_module("torchvision")


def compiled(torch, contender, function):
    """`function`, through `torch.compile` where the contender's form asks for it, and with its weights as constants."""
    if contender.form == "compiled_frozen":
        importlib.import_module("torch._inductor.config").freezing = True
    return torch.compile(function) if contender.form in ("compiled", "compiled_frozen") else function


def inference_step(torch, model, contender, shape):
    """`batch size -> step` for the forward pass on images or clips of that shape, channels first."""
    dtype, device = getattr(torch, contender.precision), _DEVICES[contender.device]
    model = compiled(torch, contender, model.eval().to(device, dtype))

    def prepare(batch):
        x = torch.randn(batch, *shape, dtype=dtype, device=device)

        def step():
            with torch.inference_mode():
                return model(x).cpu()

        return step

    return prepare


def training_step(torch, model, contender, shape):
    """The same for forward, backward and AdamW; bfloat16 as automatic mixed precision."""
    device = _DEVICES[contender.device]
    model.train().to(device)
    forward = compiled(torch, contender, model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05, fused=True)
    mixed = contender.precision != "float32"

    def prepare(batch):
        x = torch.randn(batch, *shape, device=device)
        y = torch.zeros(batch, dtype=torch.long, device=device)

        def step():
            with torch.autocast(device, dtype=torch.bfloat16, enabled=mixed):
                loss = torch.nn.functional.cross_entropy(forward(x), y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            return loss.item()

        return step

    return prepare


def matmul(contender):
    """`size -> step` for the machine's measure: one product of two square matrices of that size."""
    torch = setup(contender.threads, contender.device)

    def prepare(size):
        a = torch.randn(size, size, dtype=getattr(torch, contender.precision), device=_DEVICES[contender.device])

        def step():
            with torch.inference_mode():
                return (a @ a)[0, 0].item()

        return step

    return prepare
