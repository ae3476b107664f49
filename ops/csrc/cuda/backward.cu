// The CUDA kernels of the pooling's backward. No atomics: every gradient is written by one thread,
// from sums taken in a fixed order.
//
// With G [runs, C] the BEV gradients of a column's runs, W [runs, rows] their weights and X [rows, C]
// the context, the context's gradient is W^T G, and the depth's G X^T, which all bins of a run share.
// Neighbouring threads take neighbouring columns in both.
#include "run_batch.h"

namespace bevpool {
namespace {

template <typename S>
__device__ __forceinline__ Vector<Sum<S>, kThreadChannels<S>> load_sums(const void* rows,
                                                                        int64_t element) {
  const auto values = load_vector<S, kThreadChannels<S>>(rows, element);
  Vector<Sum<S>, kThreadChannels<S>> sums;
#pragma unroll
  for (int k = 0; k < kThreadChannels<S>; ++k) sums.value[k] = to_sum(values.value[k]);
  return sums;
}

// The row of packed_grad that belongs to a run. A list by columns says nothing of cells.
struct GradRow {
  const int32_t* cells;
  int64_t grid, pixels, width, first_cell;

  __device__ __forceinline__ GradRow(const BackwardParams& p, const BlockTile& tile)
      : cells(p.cells + tile.image * p.bins * p.height * p.width + tile.column0),
        grid(p.grid),
        pixels(p.height * p.width),
        width(p.width),
        first_cell(tile.image / p.cameras * p.grid) {}

  __device__ __forceinline__ int32_t operator()(const Run& run, int column) const {
    const int32_t cell = cells[run.first_bin * pixels + run.first_row * width + column];
    const bool valid = is_inside(cell, grid);  // not of a plan whose cells somebody overwrote
    return static_cast<int32_t>(first_cell + (valid ? cell : 0));
  }
};

// A thread adds up its channels' gradient for kRowsOfThread rows of its column.
constexpr int kRowsOfThread = 8, kRowThreads = kRowTile / kRowsOfThread, kGradLanes = 10;
constexpr int kGradsAtOnce = 2;

template <typename S>
__global__ void __launch_bounds__(kColumns* kGradLanes* kRowThreads, 4)
    context_grad_kernel(BackwardParams p) {
  using T = Sum<S>;
  constexpr int channels = kThreadChannels<S>;
  alignas(16) __shared__ T weights[kColumns * kColumnPitch];
  __shared__ RunHeads<kBatch> heads;
  __shared__ ColumnRuns block;

  const BlockTile tile = tile_of_block(blockIdx.x, p.height, p.width);
  const int mine = threadIdx.x, my_row = threadIdx.z * kRowsOfThread;
  const int thread = (threadIdx.z * blockDim.y + threadIdx.y) * kColumns + threadIdx.x;
  const int threads = blockDim.z * blockDim.y * kColumns;
  share_runs(block, p.groups, tile, p.height, p.width, thread);

  const int64_t channel = (int64_t(blockIdx.y) * blockDim.y + threadIdx.y) * channels;
  const int width = static_cast<int>(p.width), pixels = static_cast<int>(p.height) * width;
  const int64_t first_pixel = tile.first_row * p.width + tile.column0;
  const S* depth =
      static_cast<const S*>(p.depth) + tile.image * p.depth_image_stride + first_pixel;
  Vector<T, channels> sum[kRowsOfThread] = {};
  for (int done = 0; done < block.most; done += kBatch) {
    load_heads(heads, block, done, p.runs, tile.first_row, thread, threads, GradRow(p, tile));
    const int left = block.most - done < kBatch ? block.most - done : kBatch;
    load_weights<S>(weights, heads, left, depth, pixels, width, thread, threads);
    const int mine_left = channel < p.padded_channels ? block.count[mine] - done : 0;
    const int runs = mine_left < kBatch ? mine_left : kBatch;
    for (int k0 = 0; k0 < runs; k0 += kGradsAtOnce) {
      Vector<T, channels> grad[kGradsAtOnce];
#pragma unroll
      for (int j = 0; j < kGradsAtOnce; ++j)
        if (k0 + j < runs)
          grad[j] = load_sums<S>(p.packed_grad,
                                 heads.cell[mine][k0 + j] * p.padded_channels + channel);
#pragma unroll
      for (int j = 0; j < kGradsAtOnce; ++j) {
        if (k0 + j >= runs) break;
        const uint32_t used = heads.rows[mine][k0 + j] >> my_row;
        const int first = mine * kColumnPitch + (k0 + j) * kRowTile + my_row;
#pragma unroll
        for (int row0 = 0; row0 < kRowsOfThread; row0 += kVector<T>) {
          const auto weight = load_vector<T>(weights, first + row0);
#pragma unroll
          for (int i = 0; i < kVector<T>; ++i)
            if (used >> (row0 + i) & 1u)
              for (int n = 0; n < channels; ++n)
                sum[row0 + i].value[n] += weight.value[i] * grad[j].value[n];
        }
      }
    }
    __syncthreads();
  }

  S* target = static_cast<S*>(p.context_grad) + (tile.image * p.channels + channel) * pixels +
              first_pixel + mine;
#pragma unroll
  for (int row = 0; row < kRowsOfThread; ++row)
#pragma unroll
    for (int n = 0; n < channels; ++n)
      if (tile.first_row + my_row + row < p.height && tile.column0 + mine < p.width &&
          channel + n < p.channels)
        from_sum(sum[row].value[n], target + n * int64_t(pixels) + (my_row + row) * width);
}

// A thread takes one pixel: the products of its context with the gradients of kDotRuns runs of its
// column at a time, whose first kSlab channels (then the next) lie in shared memory.
constexpr int kDotRuns = 8, kSlab = 80, kChunk = 16, kDotBlocks = 5;

template <typename S>
__global__ void __launch_bounds__(kColumns* kRowTile, kDotBlocks)
    depth_grad_kernel(BackwardParams p) {
  using T = Sum<S>;
  constexpr int channels = kThreadChannels<S>;
  // Columns lie 16 bytes further apart than they need, so that a warp's eight meet no bank twice.
  constexpr int kColumnGrads = kDotRuns * kSlab + kVector<T>;
  alignas(16) __shared__ T grads[kColumns * kColumnGrads];
  __shared__ RunHeads<kDotRuns> heads;
  __shared__ ColumnRuns block;

  const BlockTile tile = tile_of_block(blockIdx.x, p.height, p.width);
  const int mine = threadIdx.x, row = threadIdx.y;
  const int thread = threadIdx.y * kColumns + threadIdx.x, threads = kColumns * kRowTile;
  share_runs(block, p.groups, tile, p.height, p.width, thread);

  const int64_t pixels = p.height * p.width;
  const int64_t pixel = (tile.first_row + row) * p.width + tile.column0 + mine;
  const bool exists = tile.first_row + row < p.height && tile.column0 + mine < p.width;
  const S* context = static_cast<const S*>(p.context.data) + tile.image * p.context.image_stride +
                     pixel * p.context.pixel_stride;
  S* depth_grad = static_cast<S*>(p.depth_grad) + tile.image * p.bins * pixels + pixel;

  for (int done = 0; done < block.most; done += kDotRuns) {
    load_heads(heads, block, done, p.runs, tile.first_row, thread, threads, GradRow(p, tile));
    const int runs = block.count[mine] - done;
    T dot[kDotRuns] = {};
    for (int64_t slab = 0; slab < p.padded_channels; slab += kSlab) {
      // What lies behind the last channel of a chunk is zero in both factors.
      const int width =
          static_cast<int>(p.padded_channels - slab < kSlab ? p.padded_channels - slab : kSlab);
      const int vectors = (width + kChunk - 1) / kChunk * (kChunk / channels);
      for (int i = thread; i < kColumns * kDotRuns * vectors; i += threads) {
        const int v = i % vectors, c = i / vectors % kColumns, k = i / vectors / kColumns;
        if (done + k >= block.count[c]) continue;
        Vector<T, channels> grad{};
        if (v * channels < width)
          grad = load_sums<S>(p.packed_grad,
                              heads.cell[c][k] * p.padded_channels + slab + v * channels);
        *reinterpret_cast<Vector<T, channels>*>(
            grads + c * kColumnGrads + k * kSlab + v * channels) = grad;
      }
      __syncthreads();
      for (int chunk = 0; chunk < width; chunk += kChunk) {
        T x[kChunk];
#pragma unroll
        for (int n = 0; n < kChunk; ++n) {
          const int64_t channel = slab + chunk + n;
          x[n] = exists && channel < p.channels
                     ? to_sum(context[channel * p.context.channel_stride])
                     : T(0);
        }
#pragma unroll
        for (int k = 0; k < kDotRuns; ++k) {
          if (k >= runs) break;
#pragma unroll
          for (int n = 0; n < kChunk; n += channels) {
            const auto grad = load_vector<T, channels>(
                grads, mine * kColumnGrads + k * kSlab + chunk + n);
#pragma unroll
            for (int i = 0; i < channels; ++i) dot[k] += x[n + i] * grad.value[i];
          }
        }
      }
      __syncthreads();
    }
#pragma unroll
    for (int k = 0; k < kDotRuns; ++k) {
      if (k >= runs || (heads.rows[mine][k] >> row & 1u) == 0) continue;
      S* target = depth_grad + first_bin_of(heads.bins[mine][k]) * pixels;
      for (int d = 0; d < bin_count_of(heads.bins[mine][k]); ++d)
        from_sum(dot[k], target + d * pixels);
    }
    __syncthreads();
  }
}

template <typename S>
void backward_of(const BackwardParams& p, cudaStream_t stream) {
  const int64_t vectors = p.padded_channels / kThreadChannels<S>;
  const int64_t lanes = lanes_of(vectors, kGradLanes);
  const int64_t blocks = blocks_of_tiles(p.images, p.height, p.width);
  const dim3 grid(blocks, (vectors + lanes - 1) / lanes);
  const auto context_grad = context_grad_kernel<S>;
  BEVPOOL_LAUNCH(context_grad, grid, dim3(kColumns, lanes, kRowThreads), 0, stream, p);
  const auto depth_grad = depth_grad_kernel<S>;
  BEVPOOL_LAUNCH(depth_grad, dim3(blocks, 1, shares_of(blocks)), dim3(kColumns, kRowTile), 0,
                 stream, p);
}

}  // namespace

void launch_backward(CudaDtype dtype, const BackwardParams& params, cudaStream_t stream) {
  BEVPOOL_FOR_DTYPE(backward_of, params, stream)
}

}  // namespace bevpool
