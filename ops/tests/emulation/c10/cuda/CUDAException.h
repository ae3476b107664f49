// In place of PyTorch's header, for the emulation: a launch on the host cannot fail.
#pragma once

#define C10_CUDA_KERNEL_LAUNCH_CHECK()
