// The CUDA kernel of the forward's first half: the sum of every run, column by column.
//
// In an image column nearly all rows of a bin share one BEV cell, so the runs of a column are a
// small matrix product: their weights [runs, rows] by the column's context [rows, C]. A thread
// holds the context of its channels for all rows of a tile in registers and uses it for every run.
// Neighbouring threads take neighbouring columns, whose values lie next to each other in memory.
#include "run_batch.h"

namespace bevpool {
namespace {

constexpr int kColumnLanes = 20, kColumnBlocks = 3;

template <typename S>
__global__ void __launch_bounds__(kColumns* kColumnLanes, kColumnBlocks)
    columns_kernel(ColumnParams p) {
  using T = Sum<S>;
  constexpr int channels = kThreadChannels<S>;
  alignas(16) __shared__ T weights[kColumns * kColumnPitch];
  __shared__ RunHeads<kBatch> heads;
  __shared__ ColumnRuns block;

  const BlockTile tile = tile_of_block(blockIdx.x, p.height, p.width);
  const int mine = threadIdx.x;
  const int thread = threadIdx.y * kColumns + threadIdx.x, threads = blockDim.y * kColumns;
  share_runs(block, p.groups, tile, p.height, p.width, thread);

  // The context of this thread's column and channels.
  const int64_t channel = (int64_t(blockIdx.y) * blockDim.y + threadIdx.y) * channels;
  const int64_t first_pixel = tile.first_row * p.width + tile.column0 + mine;
  const S* feature = static_cast<const S*>(p.context.data) + tile.image * p.context.image_stride +
                     channel * p.context.channel_stride + first_pixel * p.context.pixel_stride;
  T context[kRowTile][channels];
#pragma unroll
  for (int row = 0; row < kRowTile; ++row) {
    const bool exists = tile.first_row + row < p.height && tile.column0 + mine < p.width;
#pragma unroll
    for (int n = 0; n < channels; ++n)
      context[row][n] = exists && channel + n < p.channels
                            ? to_sum(feature[n * p.context.channel_stride])
                            : T(0);
    feature += p.width * p.context.pixel_stride;
  }

  const int width = static_cast<int>(p.width), pixels = static_cast<int>(p.height) * width;
  const S* depth = static_cast<const S*>(p.depth) + tile.image * p.depth_image_stride +
                   tile.first_row * p.width + tile.column0;
  for (int done = 0; done < block.most; done += kBatch) {
    load_heads(heads, block, done, p.runs, tile.first_row, thread, threads,
               [](const Run& run, int) { return run.cell; });
    const int left = block.most - done < kBatch ? block.most - done : kBatch;
    load_weights<S>(weights, heads, left, depth, pixels, width, thread, threads);
    const int runs = channel < p.padded_channels ? block.count[mine] - done : 0;
    for (int k = 0; k < kBatch && k < runs; ++k) {
      const int32_t place = heads.cell[mine][k];
      if (place >= p.sum_rows) continue;
      const uint32_t used = heads.rows[mine][k];
      Vector<T, channels> sum{};
#pragma unroll
      for (int row0 = 0; row0 < kRowTile; row0 += kVector<T>) {
        const auto weight = load_vector<T>(weights, mine * kColumnPitch + k * kRowTile + row0);
#pragma unroll
        for (int j = 0; j < kVector<T>; ++j) {
          // A row outside the run may hold NaN, which a weight of zero would not keep out.
          if (used >> (row0 + j) & 1u)
            for (int n = 0; n < channels; ++n)
              sum.value[n] += weight.value[j] * context[row0 + j][n];
        }
      }
      store_16_bytes(sum, static_cast<T*>(p.sums) + int64_t(place) * p.padded_channels + channel);
    }
    __syncthreads();
  }
}

template <typename S>
void columns_of(const ColumnParams& p, cudaStream_t stream) {
  const int64_t vectors = p.padded_channels / kThreadChannels<S>;
  const int64_t lanes = lanes_of(vectors, kColumnLanes);
  const int64_t blocks = blocks_of_tiles(p.images, p.height, p.width);
  const dim3 grid(blocks, (vectors + lanes - 1) / lanes, shares_of(blocks));
  const auto kernel = columns_kernel<S>;
  BEVPOOL_LAUNCH(kernel, grid, dim3(kColumns, lanes), 0, stream, p);
}

}  // namespace

void launch_columns(CudaDtype dtype, const ColumnParams& params, cudaStream_t stream) {
  BEVPOOL_FOR_DTYPE(columns_of, params, stream)
}

}  // namespace bevpool
