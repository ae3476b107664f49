// Runs CUDA kernels on the host, one block after the other, to test their logic where no GPU is at
// hand. Each thread is a fiber that runs until a barrier or a shuffle; shared memory is static
// memory, and what is dynamic of it starts every block as NaN. It finds wrong indices, forgotten
// barriers that matter in this order of execution, and barriers not all threads reach; it cannot
// find races.
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

static dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulation {

constexpr size_t kStack = 64 * 1024;
alignas(16) static unsigned char dynamic_shared[48 * 1024];

enum class State { kReady, kAtBarrier, kInGroup, kDone };

struct Fiber {
  ucontext_t context;
  std::vector<char> stack = std::vector<char>(kStack);
  dim3 index;
  State state = State::kReady;
  unsigned mask = 0;
  double value = 0;  // holds a float or a double exactly
};

static std::vector<Fiber> fibers;
static ucontext_t scheduler;
static size_t current, alive;
static std::function<void()> body;

inline void run_body() {
  body();
  fibers[current].state = State::kDone;
  --alive;
}

inline void wait(State state, unsigned mask) {
  fibers[current].state = state;
  fibers[current].mask = mask;
  swapcontext(&fibers[current].context, &scheduler);
}

// Releases a warp's group once all its threads have arrived; returns whether it did.
inline bool release_group(size_t first) {
  const size_t warp = first / 32 * 32;
  const unsigned mask = fibers[first].mask;
  for (size_t i = 0; i < 32; ++i)
    if ((mask >> i & 1u) && (warp + i >= fibers.size() || fibers[warp + i].state != State::kInGroup ||
                             fibers[warp + i].mask != mask))
      return false;
  for (size_t i = 0; i < 32; ++i)
    if (mask >> i & 1u) fibers[warp + i].state = State::kReady;
  return true;
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
    for (current = 0; current < threads; ++current) {
      if (fibers[current].state == State::kReady) {
        threadIdx = fibers[current].index;
        swapcontext(&scheduler, &fibers[current].context);
        ++progress;
      }
      at_barrier += fibers[current].state == State::kAtBarrier;
    }
    for (size_t i = 0; i < threads; ++i)
      if (fibers[i].state == State::kInGroup) progress += release_group(i);
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
  for (unsigned z = 0; z < grid.z; ++z)
    for (unsigned y = 0; y < grid.y; ++y)
      for (unsigned x = 0; x < grid.x; ++x) {
        blockIdx = dim3(x, y, z);
        run_block(threads);
      }
}

}  // namespace emulation

static inline int atomicAdd(int* address, int value) {
  const int before = *address;
  *address += value;
  return before;
}

static inline void __syncthreads() { emulation::wait(emulation::State::kAtBarrier, 0); }

template <typename T>
static inline T __shfl_xor_sync(unsigned mask, T value, int step, int) {
  using namespace emulation;
  const size_t me = current;
  fibers[me].value = value;
  wait(State::kInGroup, mask);
  const T other = static_cast<T>(fibers[me ^ static_cast<size_t>(step)].value);
  wait(State::kInGroup, mask);  // nobody overwrites its value before all have read
  return other;
}
