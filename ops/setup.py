"""Builds `bevdepth_plus_ops`: pip install --no-build-isolation ./ops

The C++ kernels are built where a compiler is found, the CUDA kernels where PyTorch and the machine
both have CUDA (BEVDEPTH_PLUS_OPS_CUDA=0 leaves them out). Without a compiler the package installs as pure Python and says
so on first use. BEVDEPTH_PLUS_OPS_REQUIRE_NATIVE=1 turns a failed build into an error.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path

from setuptools import setup
from torch.utils.cpp_extension import (
    CUDA_HOME,
    BuildExtension,
    CppExtension,
    CUDAExtension,
)
import torch

ROOT = Path(__file__).resolve().parent
STRICT = os.environ.get("BEVDEPTH_PLUS_OPS_REQUIRE_NATIVE", "0") == "1"
SANITIZE = (
    ["-fsanitize=address", "-fno-omit-frame-pointer"]
    if os.environ.get("BEVDEPTH_PLUS_OPS_ASAN") == "1"
    else []
)
IS_X86 = platform.machine().lower() in ("x86_64", "amd64")
# The kernels are compiled for each of these and picked at run time.
INSTRUCTION_SETS = {"default": []}
if IS_X86:
    INSTRUCTION_SETS["avx2"] = ["-mavx2", "-mfma", "-mf16c"]
    INSTRUCTION_SETS["avx512"] = [
        *INSTRUCTION_SETS["avx2"], "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl",
    ]  # fmt: skip
# Sums may fuse multiply and add; cell indices may not, so that every machine gets the same cells.
KERNELS = {"csrc/cpu/kernels.cpp": "fast", "csrc/cpu/frustum.cpp": "off"}
CXX_FLAGS = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-Wno-psabi", *SANITIZE]


class BuildKernels(BuildExtension):
    """Compiles the CPU kernels once per instruction set, then the extension around them."""

    def build_extensions(self) -> None:
        try:
            super_objects = self._kernel_objects()
            for extension in self.extensions:
                extension.extra_objects += super_objects
            super().build_extensions()
        except Exception as error:
            if STRICT:
                raise
            reason = f"the C++ kernels did not build: {str(error).splitlines()[0]}"
            print(f"bevdepth_plus_ops: {reason}; installing pure Python")
            self.extensions.clear()
            note = Path(self.build_lib) / "bevdepth_plus_ops" / "build_failure.txt"
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text(reason + "\n")

    def _kernel_objects(self) -> list[str]:
        objects = []
        for name, flags in INSTRUCTION_SETS.items():
            for source, contract in KERNELS.items():
                objects += self.compiler.compile(
                    [source],
                    output_dir=str(Path(self.build_temp) / name),
                    extra_postargs=[
                        "-std=c++17",
                        "-fPIC",
                        *CXX_FLAGS,
                        *flags,
                        f"-ffp-contract={contract}",
                        f"-DBEVPOOL_ISA={name}",
                    ],  # fmt: skip
                )
        return [str(Path(path).resolve()) for path in objects]


def extension():
    sources = ["csrc/bev_pool.cpp", "csrc/cpu/dispatch.cpp"]
    flags = CXX_FLAGS + (["-DBEVPOOL_X86"] if IS_X86 else [])
    wants_cuda = os.environ.get("BEVDEPTH_PLUS_OPS_CUDA", "1") == "1"
    if wants_cuda and torch.version.cuda and CUDA_HOME:
        sources += ["csrc/cuda/bev_pool_cuda.cpp", "csrc/cuda/bev_pool.cu"]
        return CUDAExtension(
            "bevdepth_plus_ops._C",
            sources,
            extra_compile_args={"cxx": flags, "nvcc": ["-O3", "--fmad=true"]},
        )
    return CppExtension(
        "bevdepth_plus_ops._C", sources, extra_compile_args=flags, extra_link_args=SANITIZE
    )


os.chdir(ROOT)
setup(
    name="bevdepth_plus_ops",
    version="0.1.0",
    description="Lift-splat BEV pooling for PyTorch: exact and deterministic on CPU and CUDA",
    packages=["bevdepth_plus_ops"],
    python_requires=">=3.10",
    install_requires=["torch>=2.6"],
    ext_modules=[extension()],
    cmdclass={"build_ext": BuildKernels},
)
