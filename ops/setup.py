"""Builds `bevdepth_plus_ops`: pip install --no-build-isolation ./ops

The C++ kernels are built where a compiler is found, the CUDA kernels where PyTorch and the machine
both have CUDA. Without a compiler the package installs as pure Python and says so on first use.

Environment:
    BEVDEPTH_PLUS_OPS_CUDA=0            leaves the CUDA kernels out
    BEVDEPTH_PLUS_OPS_REQUIRE_NATIVE=1  makes a failed build an error
    BEVDEPTH_PLUS_OPS_ASAN=1            builds with AddressSanitizer (see asan.sh)
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import torch
from setuptools import Extension, setup
from torch.utils.cpp_extension import CUDA_HOME, BuildExtension, CppExtension, CUDAExtension

WANTS_CUDA = os.environ.get("BEVDEPTH_PLUS_OPS_CUDA", "1") == "1"
MUST_BUILD = os.environ.get("BEVDEPTH_PLUS_OPS_REQUIRE_NATIVE", "0") == "1"
WITH_ASAN = os.environ.get("BEVDEPTH_PLUS_OPS_ASAN", "0") == "1"
IS_X86 = platform.machine().lower() in ("x86_64", "amd64")

# The kernels are compiled for each of these and picked at run time.
INSTRUCTION_SETS = {"default": []}
if IS_X86:
    avx2 = ["-mavx2", "-mfma", "-mf16c"]
    avx512 = ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl"]
    INSTRUCTION_SETS |= {"avx2": avx2, "avx512": avx2 + avx512}
# Sums may fuse multiply and add; cell indices may not, so that every machine gets the same cells.
KERNELS = {
    "csrc/cpu/kernels.cpp": "fast",
    "csrc/cpu/runs.cpp": "off",
    "csrc/cpu/frustum.cpp": "off",
}
CUDA_KERNELS = tuple(
    f"{name}.cu" for name in ("frustum", "runs", "rows", "columns", "pool_cells", "backward")
)
ASAN_FLAGS = ["-fsanitize=address", "-fno-omit-frame-pointer", "-g"] if WITH_ASAN else ["-g0"]
CXX_FLAGS = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-Wno-psabi"]
CXX_FLAGS += ["-Wno-maybe-uninitialized", *ASAN_FLAGS]  # gcc 12 warns about its own intrinsics

# at::parallel_for is a template: compiled without OpenMP it is a plain loop, without a warning.
# (Apple's compiler has no OpenMP; there the op runs on one thread.)
WITH_OPENMP = sys.platform == "linux" and "OpenMP" in torch.__config__.parallel_info()
OPENMP = ["-fopenmp"] if WITH_OPENMP else []


class BuildKernels(BuildExtension):
    """Compiles the CPU kernels once per instruction set, then the extension around them."""

    def build_extensions(self) -> None:
        try:
            objects = self._kernel_objects()
            for extension in self.extensions:
                extension.extra_objects += objects
            super().build_extensions()
        except Exception as error:
            if MUST_BUILD:
                raise
            reason = f"the compiled kernels did not build: {str(error).splitlines()[0]}"
            print(f"bevdepth_plus_ops: {reason}; installing pure Python")
            self.extensions.clear()
            note = Path(self.build_lib) / "bevdepth_plus_ops" / "build_failure.txt"
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text(reason + "\n")

    def _kernel_objects(self) -> list[str]:
        objects = []
        for name, flags in INSTRUCTION_SETS.items():
            for source, contract in KERNELS.items():
                arguments = ["-std=c++17", "-fPIC", *CXX_FLAGS, *flags]
                arguments += [f"-ffp-contract={contract}", f"-DBEVPOOL_ISA={name}"]
                folder = str(Path(self.build_temp) / name)
                objects += self.compiler.compile([source], folder, extra_postargs=arguments)
        return [str(Path(path).resolve()) for path in objects]


def extension() -> Extension:
    """The operators, with CUDA where it can be built."""
    sources = ["csrc/bev_pool.cpp"]
    sources += [f"csrc/cpu/{name}.cpp" for name in ("dispatch", "plan", "gpu_plan", "pool")]
    flags = CXX_FLAGS + OPENMP + (["-DBEVPOOL_X86"] if IS_X86 else [])
    links = OPENMP + (["-fsanitize=address"] if WITH_ASAN else [])
    if WANTS_CUDA and torch.version.cuda and CUDA_HOME:
        cuda = ("bev_pool_cuda.cpp", *CUDA_KERNELS)
        sources += [f"csrc/cuda/{name}" for name in cuda]
        arguments = {"cxx": flags, "nvcc": ["-O3"]}
        return CUDAExtension(
            "bevdepth_plus_ops._C", sources, extra_compile_args=arguments, extra_link_args=links
        )
    return CppExtension(
        "bevdepth_plus_ops._C", sources, extra_compile_args=flags, extra_link_args=links
    )


os.chdir(Path(__file__).resolve().parent)
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
