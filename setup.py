"""Installation of keras_mlp; build system, ruff and pytest settings are in pyproject.toml."""

import pathlib
import re

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "keras_mlp" / "__init__.py").read_text(encoding="utf-8"))[1]

# What builds and checks the package, and what benchmarks and examples work with: it never asks for them itself.
PACKAGE = ["build>=1.2", "twine>=6", "mypy>=1.15", "setuptools>=70.1"]
BESIDE = ["keras-cv>=0.9", "keras-tuner>=1.4", "litserve>=0.2.10", "mlflow-skinny>=3.4", "wandb>=0.20"]
BESIDE += ["pandas>=2"]  # for mlflow.keras
BESIDE += ["playwright>=1.50"]  # it drives the Chromium that is there; it has to fetch none
COREML = ["coremltools>=9"]
EXPORT = ["ai-edge-litert>=2.0"]
TRAIN = [
    "tensorflow-datasets>=4.9.9",
    "importlib_resources",  # tensorflow-datasets imports it and does not ask for it
    "scikit-learn>=1.3",
    "matplotlib>=3.8",
    "tensorboard>=2.20",
    "faster-coco-eval>=1.6",
]
ANALYSIS = ["plotly>=6", "matplotlib>=3.8", "scikit-learn>=1.3"]
ONNX = ["onnx>=1.19", "onnxruntime>=1.23", "tf2onnx>=1.17"]
OPENVINO = ["openvino>=2026.1", "nncf>=3.1"]
VIDEO = ["av>=15"]
TORCH = ["torch>=2.6"]
HUB = ["huggingface-hub>=1.0"]
MEDIAPIPE = ["mediapipe>=1.2"]
DOCS = [
    "sphinx>=8",
    "furo>=2025.7.19",
    "myst-parser>=4",
    "linkify-it-py>=2",
    "sphinx-copybutton>=0.5.2",
    "sphinx-design>=0.6",
]
DEV = ["ruff>=0.14"]
TEST = [
    *(
        requirement
        for extra in (TRAIN, ANALYSIS, EXPORT, ONNX, OPENVINO, VIDEO, HUB, MEDIAPIPE, DEV)
        for requirement in extra
    ),
    *("pytest>=8", "pytest-xdist>=3.6", "jax[cpu]>=0.4.30"),
]

setup(
    name="keras-mlp",
    version=VERSION,
    description="keras.applications for every vision-MLP family",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["keras_mlp", "keras_mlp.*"]),
    py_modules=["keras_mlp_command"],
    package_data={"keras_mlp": ["classes.tsv", "cards.json", "py.typed"]},
    install_requires=[
        "keras>=3.12",
        "tensorflow>=2.20",
        "absl-py>=2.0",
        "flatbuffers>=24.3",
        "numpy>=1.26",
        "h5py>=3.10",
        "ml-dtypes>=0.4",
        "safetensors>=0.4.3",
        "filelock>=3.12",
        "rich>=13",
        "pillow>=11",
    ],
    extras_require={
        "train": TRAIN,
        "export": EXPORT,
        "analysis": ANALYSIS,
        "coreml": COREML,
        "onnx": ONNX,
        "openvino": OPENVINO,
        "video": VIDEO,
        "torch": TORCH,
        "hub": HUB,
        "test": [*TEST, *COREML, *DOCS, *PACKAGE, *BESIDE],
        "docs": [*DOCS, *ANALYSIS],
        "dev": DEV,
    },
    entry_points={"console_scripts": ["keras-mlp = keras_mlp_command:main"]},
)
