// The CUDA kernel of the forward's second half: adds up the runs of each BEV cell, and writes the
// output, zeros included. No atomics: every value is written by one thread, from sums taken in a
// fixed order.
#include "vector.h"

namespace bevpool {
namespace {

// A block finishes kTile neighbouring cells, whose runs lie behind each other. Its kShares rows of
// threads take equal shares of these runs, so one crowded cell does not leave the others waiting.
// A share that starts inside a cell hands that cell's first part over through `heads`; these are
// then added in the order of the shares.
constexpr int kTile = 32, kShares = 16, kMostBlockChannels = 128;

// Adds run i of the list by cells.
template <typename S>
__device__ __forceinline__ void add_run(const CellParams& p, int64_t i, int64_t channel,
                                        Sum<S>* sum) {
  using T = Sum<S>;
  constexpr int channels = kThreadChannels<S>;
  if (i < p.sum_rows) {
    const auto part = load_vector<T>(p.sums, i * p.padded_channels + channel);
#pragma unroll
    for (int k = 0; k < channels; ++k) sum[k] += part.value[k];
    return;
  }
  const Run run = p.runs[p.by_cell == nullptr ? i : p.by_cell[i]];
  const int64_t pixels = p.height * p.width;
  const int64_t image = run.column / p.width;
  int64_t pixel = run.first_row * p.width + run.column % p.width;
  const S* depth = static_cast<const S*>(p.depth) + image * p.depth_image_stride +
                   run.first_bin * pixels;
  T part[channels] = {};
  for (int row = 0; row < run.rows; ++row, pixel += p.width) {
    T weight = 0;
    for (int d = 0; d < run.bins; ++d) weight += to_sum(depth[d * pixels + pixel]);
    const auto feature = load_vector<S, channels>(
        p.context.data,
        image * p.context.image_stride + pixel * p.context.row_stride + channel);
#pragma unroll
    for (int k = 0; k < channels; ++k) part[k] += weight * to_sum(feature.value[k]);
  }
#pragma unroll
  for (int k = 0; k < channels; ++k) sum[k] += part[k];
}

template <typename S>
__global__ void cells_kernel(CellParams p) {
  using T = Sum<S>;
  constexpr int vector = kThreadChannels<S>;
  const int pitch = blockDim.x * vector + 1;
  BEVPOOL_SHARED_MEMORY(shared);
  T* sums = reinterpret_cast<T*>(shared);  // [kTile, pitch]
  T* heads = sums + kTile * pitch;         // [kShares, pitch]
  __shared__ int32_t first_run[kTile + 1];
  __shared__ int32_t head_cell[kShares];

  const int64_t tiles = (p.grid + kTile - 1) / kTile;
  const int64_t item = blockIdx.x / tiles, cell0 = blockIdx.x % tiles * kTile;
  const int count = static_cast<int>(p.grid - cell0 < kTile ? p.grid - cell0 : kTile);
  const int thread = threadIdx.y * blockDim.x + threadIdx.x;
  const int threads = blockDim.x * blockDim.y;
  for (int i = thread; i <= count; i += threads)
    first_run[i] = p.offsets[item * p.grid + cell0 + i];
  for (int i = thread; i < kTile * pitch; i += threads) sums[i] = T(0);
  if (threadIdx.x == 0) head_cell[threadIdx.y] = -1;
  __syncthreads();

  const int offset = threadIdx.x * vector;
  const int64_t channel = int64_t(blockIdx.y) * blockDim.x * vector + offset;
  const int64_t total = int64_t(first_run[count]) - first_run[0];
  const int64_t share = (total + kShares - 1) / kShares;
  const int64_t begin = first_run[0] + threadIdx.y * share;
  const int64_t end = begin + share < first_run[count] ? begin + share : first_run[count];
  if (begin < end && channel < p.padded_channels) {
    T sum[vector] = {};
    int cell = 0;
    while (first_run[cell + 1] <= begin) ++cell;
    const auto finish_cell = [&]() {
      const bool is_head = first_run[cell] < begin;
      T* target = (is_head ? heads + threadIdx.y * pitch : sums + cell * pitch) + offset;
      if (is_head && threadIdx.x == 0) head_cell[threadIdx.y] = cell;
      for (int k = 0; k < vector; ++k) {
        target[k] = sum[k];
        sum[k] = T(0);
      }
    };
    for (int64_t i = begin; i < end; ++i) {
      while (first_run[cell + 1] <= i) {
        finish_cell();
        ++cell;
      }
      add_run<S>(p, i, channel, sum);
    }
    finish_cell();
  }
  __syncthreads();

  for (int cell = threadIdx.y; cell < count; cell += blockDim.y)
    for (int s = 0; s < kShares; ++s)
      if (head_cell[s] == cell && channel < p.padded_channels)
        for (int k = 0; k < vector; ++k)
          sums[cell * pitch + offset + k] += heads[s * pitch + offset + k];
  __syncthreads();

  S* bev = static_cast<S*>(p.bev) + item * p.channels * p.grid + cell0;
  const int block_channels = blockDim.x * vector;
  for (int i = thread; i < kTile * block_channels; i += threads) {
    const int cell = i % kTile, c = i / kTile;
    const int64_t out_channel = int64_t(blockIdx.y) * block_channels + c;
    if (cell < count && out_channel < p.channels)
      from_sum(sums[cell * pitch + c], bev + out_channel * p.grid + cell);
  }
}

template <typename S>
void pool_cells_of(const CellParams& p, cudaStream_t stream) {
  constexpr int channels = kThreadChannels<S>;
  const int64_t vectors = p.padded_channels / channels;
  const int64_t most = kMostBlockChannels / channels < 32 ? kMostBlockChannels / channels : 32;
  const int64_t lanes = vectors < most ? vectors : most;
  const dim3 grid(p.items * ((p.grid + kTile - 1) / kTile), (vectors + lanes - 1) / lanes);
  const dim3 block(lanes, kShares);
  const size_t shared = (kTile + kShares) * (lanes * channels + 1) * sizeof(Sum<S>);
  const auto kernel = cells_kernel<S>;
  BEVPOOL_LAUNCH(kernel, grid, block, shared, stream, p);
}

}  // namespace

void launch_pool_cells(CudaDtype dtype, const CellParams& params, cudaStream_t stream) {
  BEVPOOL_FOR_DTYPE(pool_cells_of, params, stream)
}

}  // namespace bevpool
