// The CUDA kernel of the pooling's backward. No atomics: every gradient is written by one thread,
// from sums taken in a fixed order.
//
// A block takes one image column and row tile, kRuns of its runs at a time: the BEV gradient of a
// run is read once and serves both results, a matrix product each. With G [runs, C] the gradients,
// W [runs, rows] the weights and X [rows, C] the context, the context's gradient is W^T G and the
// depth's G X^T, which all bins of a run share.
#include "run_rows.h"
#include "vector.h"

namespace bevpool {
namespace {

constexpr int kRuns = 32;
// A thread adds up its channels' context gradient for kRowsOfThread rows.
constexpr int kRowsOfThread = 2, kRowThreads = kRowTile / kRowsOfThread;

// Rows lie 16 bytes further apart than their channels need: with whole multiples of 128 bytes,
// neighbouring rows would meet in the same banks.
template <typename S>
BEVPOOL_INLINE int64_t row_pitch(int64_t padded_channels) {
  return padded_channels + kThreadChannels<S>;
}

template <typename S>
__device__ __forceinline__ void load_sums(const void* rows, int64_t element, Sum<S>* target) {
  const auto values = load_vector<S, kThreadChannels<S>>(rows, element);
#pragma unroll
  for (int k = 0; k < kThreadChannels<S>; ++k) target[k] = to_sum(values.value[k]);
}

template <typename T>
__device__ __forceinline__ T dot_of(const T* a, const T* b, int channels) {
  Vector<T> parts{};
  for (int c = 0; c < channels; c += kVector<T>) {
    const auto x = load_vector<T>(a, c), y = load_vector<T>(b, c);
#pragma unroll
    for (int k = 0; k < kVector<T>; ++k) parts.value[k] += x.value[k] * y.value[k];
  }
  T dot = 0;
#pragma unroll
  for (int k = 0; k < kVector<T>; ++k) dot += parts.value[k];
  return dot;
}

template <typename S>
__global__ void backward_kernel(BackwardParams p) {
  using T = Sum<S>;
  constexpr int channels = kThreadChannels<S>;
  const int pitch = static_cast<int>(row_pitch<S>(p.padded_channels));
  BEVPOOL_SHARED_MEMORY(shared);
  T* context = reinterpret_cast<T*>(shared);  // X [kRowTile, pitch]
  T* grads = context + kRowTile * pitch;      // G [kRuns, pitch]
  T* weights = grads + kRuns * pitch;         // W [kRuns, kRowTile]
  __shared__ Run runs[kRuns];
  __shared__ int32_t cell[kRuns];

  const int64_t row_tiles = row_tiles_of(p.height), pixels = p.height * p.width;
  const int64_t column = blockIdx.x / row_tiles, image = column / p.width;
  const int64_t w = column - image * p.width;
  const int first_row = static_cast<int>(blockIdx.x % row_tiles) * kRowTile;
  const int rows = static_cast<int>(p.height - first_row < kRowTile ? p.height - first_row
                                                                    : kRowTile);
  const int thread = threadIdx.y * blockDim.x + threadIdx.x;
  const int threads = blockDim.x * blockDim.y, vectors = blockDim.x;
  const RunRange all = runs_of_group(p.groups, blockIdx.x);
  const S* depth = static_cast<const S*>(p.depth) + image * p.depth_image_stride + w;
  S* depth_grad = static_cast<S*>(p.depth_grad) + image * p.bins * pixels + w;
  const int64_t first_cell = image / p.cameras * p.grid;

  for (int i = thread; i < rows * vectors; i += threads) {
    const int row = i / vectors, c = (i - row * vectors) * channels;
    const int64_t pixel = (first_row + row) * p.width + w;
    load_sums<S>(p.context.data,
                 image * p.context.image_stride + pixel * p.context.row_stride + c,
                 context + row * pitch + c);
  }
  Vector<T, channels> context_grad[kRowsOfThread] = {};
  const int my_row = threadIdx.y * kRowsOfThread, my_channel = threadIdx.x * channels;

  for (int64_t done = 0; done < all.count; done += kRuns) {
    const int count = static_cast<int>(all.count - done < kRuns ? all.count - done : kRuns);
    __syncthreads();
    for (int k = thread; k < count; k += threads) {
      const Run run = p.runs[all.first + done + k];
      runs[k] = run;
      const int32_t found =
          p.cells[(image * p.bins + run.first_bin) * pixels + run.first_row * p.width + w];
      cell[k] = is_inside(found, p.grid) ? found : 0;  // of a plan whose cells somebody overwrote
    }
    __syncthreads();
    for (int i = thread; i < count * vectors; i += threads) {
      const int k = i / vectors, c = (i - k * vectors) * channels;
      load_sums<S>(p.packed_grad, (first_cell + cell[k]) * p.padded_channels + c,
                   grads + k * pitch + c);
    }
    for (int i = thread; i < count * kRowTile; i += threads) {
      const int k = i / kRowTile, row = i % kRowTile;
      const bool used = rows_in_tile(runs[k], first_row) >> row & 1u;
      weights[i] = used ? weight_of(depth, runs[k], first_row + row, p.height, p.width) : T(0);
    }
    __syncthreads();

    for (int k = 0; k < count; ++k) {
      const uint32_t used = rows_in_tile(runs[k], first_row) >> my_row;
      const auto grad = load_vector<T>(grads, k * pitch + my_channel);
#pragma unroll
      for (int row = 0; row < kRowsOfThread; ++row) {
        if ((used >> row & 1u) == 0) continue;
        const T weight = weights[k * kRowTile + my_row + row];
#pragma unroll
        for (int c = 0; c < channels; ++c) context_grad[row].value[c] += weight * grad.value[c];
      }
    }
    for (int i = thread; i < count * kRowTile; i += threads) {
      const int k = i / kRowTile, row = i % kRowTile;
      if ((rows_in_tile(runs[k], first_row) >> row & 1u) == 0) continue;
      const T dot = dot_of(context + row * pitch, grads + k * pitch,
                           static_cast<int>(p.padded_channels));
      S* target = depth_grad + runs[k].first_bin * pixels + (first_row + row) * p.width;
      for (int d = 0; d < runs[k].bins; ++d) from_sum(dot, target + d * pixels);
    }
  }

  S* target = static_cast<S*>(p.context_grad) + image * p.channels * pixels + w;
  for (int row = 0; row < kRowsOfThread && my_row + row < rows; ++row)
    for (int c = 0; c < channels && my_channel + c < p.channels; ++c)
      from_sum(context_grad[row].value[c],
               target + (my_channel + c) * pixels + (first_row + my_row + row) * p.width);
}

template <typename S>
void backward_of(const BackwardParams& p, cudaStream_t stream) {
  const int64_t blocks = p.images * p.width * row_tiles_of(p.height);
  const int64_t pitch = row_pitch<S>(p.padded_channels);
  const size_t shared = ((kRowTile + kRuns) * pitch + kRuns * kRowTile) * sizeof(Sum<S>);
  const dim3 block(p.padded_channels / kThreadChannels<S>, kRowThreads);
  const auto kernel = backward_kernel<S>;
  BEVPOOL_LAUNCH(kernel, dim3(blocks), block, shared, stream, p);
}

}  // namespace

void launch_backward(CudaDtype dtype, const BackwardParams& params, cudaStream_t stream) {
  BEVPOOL_FOR_DTYPE(backward_of, params, stream)
}

}  // namespace bevpool
