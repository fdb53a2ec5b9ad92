"""Installation of golden_stick."""
import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'__version__ = "([^"]+)"', (ROOT / "golden_stick" / "__init__.py").read_text()).group(1)

EXAMPLES = ["scikit-learn>=1.3", "pillow>=10", "pyyaml>=6", "tqdm>=4.60"]
REPORTS = ["matplotlib>=3.8"]
# Completion of lines, tables, and how far something is.
TERMINAL = ["argcomplete>=3.1", "rich>=13.7"]
ONNX = ["onnx>=1.18,<1.21", "onnxruntime>=1.18,<1.25"]
DOCS = ["mkdocs>=1.6,<2", "mkdocs-material>=9.8,<10", "mkdocstrings-python>=2,<3"]
MUTATION = ["cosmic-ray>=8.3.4,<9"]
TESTS = ["pytest>=7.4", "pytest-xdist>=3.5", "mypy>=1.11,<3", "ruff>=0.6,<1"]

setup(
    name="golden-stick",
    version=VERSION,
    description="Structured pruning for MindSpore that checks what it did",
    long_description=(ROOT / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.9",
    packages=find_packages(include=["golden_stick", "golden_stick.*"]),
    package_data={"golden_stick": ["py.typed"]},
    install_requires=[
        "mindspore>=2.7",
        # MindSpore 2.10's compiled code breaks on numpy 2: `x += y` raises a SystemError.
        "numpy<2",
        # The slim file's format, and distributions. MindSpore needs both too.
        "safetensors>=0.4",
        "scipy>=1.7",
    ],
    extras_require={"examples": EXAMPLES, "reports": REPORTS, "onnx": ONNX, "terminal": TERMINAL,
                    "mutation": MUTATION, "docs": DOCS,
                    "tests": TESTS + EXAMPLES + REPORTS + ONNX + TERMINAL + MUTATION},
    entry_points={"console_scripts": ["golden-stick = golden_stick.cli:main"]},
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
