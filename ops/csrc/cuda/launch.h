// How a kernel is launched, on a GPU or emulated on the host. With BEVPOOL_EMULATE a C++ compiler
// builds the same kernels for the host (see emulation.h), which is how they are tested where no GPU
// is at hand.
#pragma once

#include "launchers.h"

#ifdef BEVPOOL_EMULATE
#include "emulation.h"
#else
#include <cuda_runtime.h>
#define BEVPOOL_SHARED_MEMORY(name) extern __shared__ __align__(16) unsigned char name[]
#define BEVPOOL_LAUNCH(kernel, grid, block, shared, stream, ...) \
  kernel<<<grid, block, shared, stream>>>(__VA_ARGS__)
#endif

namespace bevpool {

// Neighbouring image columns that a block takes together: eight float32 fill a 32-byte sector.
constexpr int kColumns = 8;

inline int64_t blocks_for(int64_t work, int64_t per_block, int64_t most) {
  const int64_t blocks = (work + per_block - 1) / per_block;
  return blocks < most ? blocks : most;
}

}  // namespace bevpool
