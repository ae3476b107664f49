// Runs CUDA kernels on the host, one block after the other, to test their logic where no GPU is at
// hand. Each thread is a fiber that runs until a barrier; shared memory is static memory, and what
// is dynamic of it starts every block as NaN. It finds wrong indices, barriers not all threads
// reach, and forgotten ones that matter in either order of the threads; other races it cannot find.
#pragma once

#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

#define __global__ static
#define __device__
#define __shared__ static
#define __forceinline__ inline
#define __launch_bounds__(...)
#define BEVPOOL_SHARED_MEMORY(name) unsigned char* name = emulation::dynamic_shared
#define BEVPOOL_LAUNCH(kernel, grid, block, shared, stream, ...) \
  emulation::launch(grid, block, shared, [=] { kernel(__VA_ARGS__); })

struct dim3 {
  dim3(int64_t x_ = 1, int64_t y_ = 1, int64_t z_ = 1) : x(x_), y(y_), z(z_) {}
  unsigned x, y, z;
};

struct alignas(16) uint4 {
  unsigned x, y, z, w;
};

static inline void __stcg(uint4* target, const uint4& value) { *target = value; }

static dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulation {

constexpr size_t kStack = 64 * 1024;
alignas(16) static unsigned char dynamic_shared[48 * 1024];

enum class State { kReady, kAtBarrier, kDone };

struct Fiber {
  ucontext_t context;
  std::vector<char> stack = std::vector<char>(kStack);
  dim3 index;
  State state = State::kReady;
};

// Runs blocks and threads from the last to the first: what a missing barrier or the order of atomics
// changes then shows.
static bool last_first = false;

static std::vector<Fiber> fibers;
static ucontext_t scheduler;
static size_t current, alive;
static std::function<void()> body;

inline void run_body() {
  body();
  fibers[current].state = State::kDone;
  --alive;
}

inline void wait_at_barrier() {
  fibers[current].state = State::kAtBarrier;
  swapcontext(&fibers[current].context, &scheduler);
}

inline void run_block(size_t threads) {
  alive = threads;
  std::memset(dynamic_shared, 0xff, sizeof(dynamic_shared));
  for (size_t i = 0; i < threads; ++i) {
    Fiber& fiber = fibers[i];
    fiber.index = dim3(i % blockDim.x, i / blockDim.x % blockDim.y, i / blockDim.x / blockDim.y);
    fiber.state = State::kReady;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.data();
    fiber.context.uc_stack.ss_size = kStack;
    fiber.context.uc_link = &scheduler;
    makecontext(&fiber.context, run_body, 0);
  }
  while (alive > 0) {
    size_t at_barrier = 0, progress = 0;
    for (size_t step = 0; step < threads; ++step) {
      current = last_first ? threads - 1 - step : step;
      if (fibers[current].state == State::kReady) {
        threadIdx = fibers[current].index;
        swapcontext(&scheduler, &fibers[current].context);
        ++progress;
      }
      at_barrier += fibers[current].state == State::kAtBarrier;
    }
    if (alive > 0 && at_barrier == alive) {
      for (size_t i = 0; i < threads; ++i)
        if (fibers[i].state == State::kAtBarrier) fibers[i].state = State::kReady;
      ++progress;
    }
    if (progress == 0) {
      std::fprintf(stderr, "emulation: not all threads reach a barrier\n");
      std::abort();
    }
  }
}

inline void launch(dim3 grid, dim3 block, size_t shared, std::function<void()> kernel) {
  if (shared > sizeof(dynamic_shared) || block.x * block.y * block.z > 1024) {
    std::fprintf(stderr, "emulation: the launch needs more than a GPU gives\n");
    std::abort();
  }
  gridDim = grid;
  blockDim = block;
  body = std::move(kernel);
  const size_t threads = size_t(block.x) * block.y * block.z;
  if (fibers.size() < threads) fibers.resize(threads);
  const uint64_t blocks = uint64_t(grid.x) * grid.y * grid.z;
  for (uint64_t step = 0; step < blocks; ++step) {
    const uint64_t block_index = last_first ? blocks - 1 - step : step;
    blockIdx = dim3(block_index % grid.x, block_index / grid.x % grid.y,
                    block_index / grid.x / grid.y);
    run_block(threads);
  }
}

}  // namespace emulation

static inline int atomicAdd(int* address, int value) {
  const int before = *address;
  *address += value;
  return before;
}

static inline void __syncthreads() { emulation::wait_at_barrier(); }
