// The CUDA kernel of the forward's first half: the sum of every run, column by column.
//
// In an image column nearly all rows of a bin share one BEV cell, so the runs of a column are a
// small matrix product: their weights [runs, rows] by the column's context [rows, C]. A thread
// holds the context of its channels for all rows of a tile in registers and uses it for every run.
#include "vector.h"

namespace bevpool {
namespace {

// Runs of each of its columns that a block does between two barriers.
constexpr int kBatch = 8;
// The columns' weights lie this far apart, so that storing them meets no bank twice.
constexpr int kColumnPitch = kBatch * kRowTile + 4;
constexpr int kMostLanes = 32;
// Fewer blocks than this do not fill a GPU: then a column's runs are shared among several.
constexpr int64_t kEnoughBlocks = 1024, kMostShares = 8;

// Bit k is set if row k of the tile belongs to the run.
__device__ __forceinline__ uint32_t rows_in_tile(const Run& run, int first_row) {
  return ((1u << run.rows) - 1u) << (run.first_row - first_row);
}

// Depth summed over the run's bins in row `row`.
template <typename S>
__device__ __forceinline__ Sum<S> weight_of(const S* column, const Run& run, int64_t row,
                                            const ColumnParams& p) {
  const int64_t pixels = p.height * p.width;
  const S* depth = column + run.first_bin * pixels + row * p.width;
  Sum<S> weight = 0;
  for (int d = 0; d < run.bins; ++d) weight += to_sum(depth[d * pixels]);
  return weight;
}

template <typename S>
__global__ void columns_kernel(ColumnParams p) {
  using T = Sum<S>;
  constexpr int channels = kThreadChannels<S>;
  alignas(16) __shared__ T weights[kColumns * kColumnPitch];
  __shared__ uint32_t rows[kColumns][kBatch];
  __shared__ int32_t target[kColumns][kBatch];
  __shared__ int64_t begin[kColumns], end[kColumns];

  const int64_t row_tiles = row_tiles_of(p.height);
  const int64_t column_groups = (p.width + kColumns - 1) / kColumns;
  const int64_t column0 = blockIdx.x % column_groups * kColumns;
  const int64_t tile = blockIdx.x / column_groups % row_tiles;
  const int64_t image = blockIdx.x / column_groups / row_tiles;
  const int first_row = static_cast<int>(tile) * kRowTile;
  const int thread = threadIdx.y * blockDim.x + threadIdx.x;
  const int threads = blockDim.x * kColumns;
  const int mine = threadIdx.y;

  if (threadIdx.x == 0) {
    begin[mine] = end[mine] = 0;
    if (column0 + mine < p.width) {
      const int64_t group = (image * p.width + column0 + mine) * row_tiles + tile;
      const bool planned = p.groups.offsets != nullptr;
      const int64_t first = planned ? p.groups.offsets[group] : group * p.groups.room;
      const int64_t count = planned ? p.groups.offsets[group + 1] - first : p.groups.counts[group];
      const int64_t shares = gridDim.z, share = (count + shares - 1) / shares;
      const int64_t skipped = share * blockIdx.z;
      begin[mine] = first + (skipped < count ? skipped : count);
      end[mine] = first + (skipped + share < count ? skipped + share : count);
    }
  }

  // The context of this thread's column and channels.
  const int64_t channel = (int64_t(blockIdx.y) * kMostLanes + threadIdx.x) * channels;
  const bool has_channel = channel < p.padded_channels && column0 + mine < p.width;
  Vector<S, channels> context[kRowTile];
  const int64_t first_pixel = first_row * p.width + column0 + mine;
  int64_t element = image * p.context.image_stride + first_pixel * p.context.row_stride + channel;
#pragma unroll
  for (int row = 0; row < kRowTile; ++row) {
    context[row] = Vector<S, channels>{};
    if (has_channel && first_row + row < p.height)
      context[row] = load_vector<S, channels>(p.context.data, element);
    element += p.width * p.context.row_stride;
  }
  __syncthreads();

  int64_t most = 0;
  for (int c = 0; c < kColumns; ++c) most = end[c] - begin[c] > most ? end[c] - begin[c] : most;
  const S* depth = static_cast<const S*>(p.depth) + image * p.depth_image_stride + column0;
  for (int64_t done = 0; done < most; done += kBatch) {
    // Weights of the next runs of each column. Neighbouring threads take neighbouring columns.
    for (int i = thread; i < kColumns * kRowTile * kBatch; i += threads) {
      const int c = i % kColumns, row = i / kColumns % kRowTile, k = i / (kColumns * kRowTile);
      const int64_t r = begin[c] + done + k;
      T weight = 0;
      if (r < end[c]) {
        const Run run = p.runs[r];
        const uint32_t used = rows_in_tile(run, first_row);
        if (used >> row & 1u) weight = weight_of<S>(depth + c, run, first_row + row, p);
        if (row == 0) {
          rows[c][k] = used;
          target[c][k] = run.cell;
        }
      }
      weights[c * kColumnPitch + k * kRowTile + row] = weight;
    }
    __syncthreads();
    const int64_t left = end[mine] - begin[mine] - done;
    for (int k = 0; k < kBatch && k < left && has_channel; ++k) {
      if (target[mine][k] >= p.sum_rows) continue;
      const uint32_t used = rows[mine][k];
      Vector<T, channels> sum{};
#pragma unroll
      for (int row0 = 0; row0 < kRowTile; row0 += kVector<T>) {
        const auto weight =
            load_vector<T>(weights, mine * kColumnPitch + k * kRowTile + row0);
#pragma unroll
        for (int j = 0; j < kVector<T>; ++j) {
          // A row outside the run may hold NaN, which a weight of zero would not keep out.
          if (used >> (row0 + j) & 1u)
            for (int n = 0; n < channels; ++n)
              sum.value[n] += weight.value[j] * to_sum(context[row0 + j].value[n]);
        }
      }
      T* row = static_cast<T*>(p.sums) + int64_t(target[mine][k]) * p.padded_channels + channel;
      store_16_bytes(sum, row);
    }
    __syncthreads();
  }
}

template <typename S>
void columns_of(const ColumnParams& p, cudaStream_t stream) {
  const int64_t vectors = p.padded_channels / kThreadChannels<S>;
  const int64_t lanes = vectors < kMostLanes ? vectors : kMostLanes;
  const int64_t blocks = p.images * row_tiles_of(p.height) * ((p.width + kColumns - 1) / kColumns);
  const int64_t wanted = kEnoughBlocks / blocks;
  const int64_t shares = wanted < 1 ? 1 : wanted < kMostShares ? wanted : kMostShares;
  const dim3 grid(blocks, (vectors + lanes - 1) / lanes, shares);
  const auto kernel = columns_kernel<S>;
  BEVPOOL_LAUNCH(kernel, grid, dim3(lanes, kColumns), 0, stream, p);
}

}  // namespace

void launch_columns(CudaDtype dtype, const ColumnParams& params, cudaStream_t stream) {
  BEVPOOL_FOR_DTYPE(columns_of, params, stream)
}

}  // namespace bevpool
