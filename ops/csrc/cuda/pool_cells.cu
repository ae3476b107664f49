// The CUDA kernel of the forward's second half: adds up the runs of each BEV cell, and writes the
// output, zeros included. No atomics: every value is written by one thread, from sums taken in a
// fixed order.
#include "vector.h"

namespace bevpool {
namespace {

// Neighbouring threads take neighbouring cells, so that eight float32 fill a sector of the output.
constexpr int kBlockCells = 8, kCellLanes = 32;
// Sums of runs that a thread has under way at once.
constexpr int kSumsAtOnce = 4;

// Adds run i of the list by cells, which has no sum of its own.
template <typename S>
__device__ __forceinline__ void add_run(const CellParams& p, int64_t i, int64_t channel,
                                        Sum<S>* sum) {
  using T = Sum<S>;
  constexpr int channels = kThreadChannels<S>;
  const Run run = p.runs[p.by_cell == nullptr ? i : p.by_cell[i]];
  const int64_t pixels = p.height * p.width;
  const int64_t image = run.column / p.width;
  int64_t pixel = run.first_row * p.width + run.column % p.width;
  const S* depth = static_cast<const S*>(p.depth) + image * p.depth_image_stride +
                   run.first_bin * pixels;
  const S* features = static_cast<const S*>(p.context.data) + image * p.context.image_stride +
                      channel * p.context.channel_stride;
  T part[channels] = {};
  for (int row = 0; row < run.rows; ++row, pixel += p.width) {
    T weight = 0;
    for (int d = 0; d < run.bins; ++d) weight += to_sum(depth[d * pixels + pixel]);
    for (int n = 0; n < channels && channel + n < p.channels; ++n)
      part[n] += weight * to_sum(features[pixel * p.context.pixel_stride +
                                          n * p.context.channel_stride]);
  }
  for (int n = 0; n < channels; ++n) sum[n] += part[n];
}

template <typename S>
__global__ void cells_kernel(CellParams p) {
  using T = Sum<S>;
  constexpr int channels = kThreadChannels<S>;
  const int64_t tiles = (p.grid + kBlockCells - 1) / kBlockCells;
  const int64_t item = blockIdx.x / tiles, cell = blockIdx.x % tiles * kBlockCells + threadIdx.x;
  const int64_t channel = (int64_t(blockIdx.y) * blockDim.y + threadIdx.y) * channels;
  if (cell >= p.grid || channel >= p.padded_channels) return;

  const int32_t* offsets = p.offsets + item * p.grid + cell;
  const int64_t first = offsets[0], end = offsets[1];
  const int64_t stored = end < p.sum_rows ? end : p.sum_rows;
  Vector<T, channels> sum{};
  int64_t i = first;
  for (; i < stored; i += kSumsAtOnce) {
    Vector<T, channels> part[kSumsAtOnce];
#pragma unroll
    for (int j = 0; j < kSumsAtOnce; ++j) {
      part[j] = Vector<T, channels>{};
      if (i + j < stored)
        part[j] = load_vector<T, channels>(p.sums, (i + j) * p.padded_channels + channel);
    }
#pragma unroll
    for (int j = 0; j < kSumsAtOnce; ++j)
      for (int n = 0; n < channels; ++n) sum.value[n] += part[j].value[n];
  }
  for (i = first < stored ? stored : first; i < end; ++i) add_run<S>(p, i, channel, sum.value);

  S* bev = static_cast<S*>(p.bev) + (item * p.channels + channel) * p.grid + cell;
#pragma unroll
  for (int n = 0; n < channels; ++n)
    if (channel + n < p.channels) from_sum(sum.value[n], bev + n * p.grid);
}

template <typename S>
void pool_cells_of(const CellParams& p, cudaStream_t stream) {
  const int64_t vectors = p.padded_channels / kThreadChannels<S>;
  const int64_t lanes = vectors < kCellLanes ? vectors : kCellLanes;
  const dim3 grid(p.items * ((p.grid + kBlockCells - 1) / kBlockCells), (vectors + lanes - 1) / lanes);
  const auto kernel = cells_kernel<S>;
  BEVPOOL_LAUNCH(kernel, grid, dim3(kBlockCells, lanes), 0, stream, p);
}

}  // namespace

void launch_pool_cells(CudaDtype dtype, const CellParams& params, cudaStream_t stream) {
  BEVPOOL_FOR_DTYPE(pool_cells_of, params, stream)
}

}  // namespace bevpool
