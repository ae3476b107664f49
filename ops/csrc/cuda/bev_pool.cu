// CUDA kernels of the pooling, forward and backward. No atomics: every output value is written by
// one thread, from sums taken in a fixed order.
#include "launch.h"

namespace bevpool {
namespace {

template <typename S>
constexpr int kVector = 16 / sizeof(S);

template <typename S>
struct alignas(16) Vector {
  S value[kVector<S>];
};

template <typename S>
__device__ Vector<S> load_vector(const void* rows, int64_t element) {
  return *reinterpret_cast<const Vector<S>*>(static_cast<const S*>(rows) + element);
}

// ---- features of one pixel or cell next to each other ------------------------------------------

constexpr int kTransposeTile = 32, kTransposeRows = 8;

template <typename S>
__global__ void rows_kernel(RowsParams p) {
  __shared__ S tile[kTransposeTile][kTransposeTile + 1];
  const int64_t row0 = int64_t(blockIdx.x) * kTransposeTile;
  const int64_t channel0 = int64_t(blockIdx.y) * kTransposeTile;
  for (int64_t image = blockIdx.z; image < p.images; image += gridDim.z) {
    const S* source = static_cast<const S*>(p.source) + image * p.image_stride;
    S* packed = static_cast<S*>(p.packed) + image * p.rows * p.padded_channels;
    for (int i = threadIdx.y; i < kTransposeTile; i += kTransposeRows) {
      const int64_t channel = channel0 + i, row = row0 + threadIdx.x;
      S value{};
      if (channel < p.channels && row < p.rows) value = source[channel * p.channel_stride + row];
      tile[i][threadIdx.x] = value;
    }
    __syncthreads();
    for (int i = threadIdx.y; i < kTransposeTile; i += kTransposeRows) {
      const int64_t row = row0 + i, channel = channel0 + threadIdx.x;
      if (row < p.rows && channel < p.padded_channels)
        packed[row * p.padded_channels + channel] = tile[threadIdx.x][i];
    }
    __syncthreads();
  }
}

// ---- forward -----------------------------------------------------------------------------------

// A block finishes kTile neighbouring cells, whose runs lie behind each other. Its kShares rows of
// threads take equal shares of these runs, so one crowded cell does not leave the others waiting.
// A share that starts inside a cell hands that cell's first part over through `heads`; the parts
// are then added in the order of the shares.
constexpr int kTile = 32, kShares = 16, kMostBlockChannels = 128;

__device__ __forceinline__ Run run_at(const Run* runs, int64_t i, const ForwardParams&) {
  return runs[i];
}
__device__ __forceinline__ Run run_at(const int64_t* points, int64_t i, const ForwardParams& p) {
  const uint32_t point = static_cast<uint32_t>(points[i]);
  const uint32_t width = static_cast<uint32_t>(p.width);
  const uint32_t height = static_cast<uint32_t>(p.height);
  const uint32_t row = point / width, plane = row / height;
  const uint32_t image = plane / static_cast<uint32_t>(p.bins);
  return Run{0, static_cast<int32_t>(image * width + (point - row * width)),
             static_cast<int16_t>(plane - image * static_cast<uint32_t>(p.bins)), 1,
             static_cast<int16_t>(row - plane * height), 1};
}

template <typename S>
__device__ __forceinline__ void add_run(const ForwardParams& p, const Run& run, int64_t channel,
                                        Sum<S>* sum) {
  const int64_t pixels = p.height * p.width;
  const int32_t image = run.column / static_cast<int32_t>(p.width);
  const int64_t place = run.first_row * p.width + (run.column - image * p.width);
  const S* depth = static_cast<const S*>(p.depth) + image * p.depth_image_stride +
                   run.first_bin * pixels + place;
  int64_t element = image * p.context.image_stride + place * p.context.row_stride + channel;
  for (int32_t row = 0; row < run.rows; ++row) {
    Sum<S> weight = 0;
    for (int32_t d = 0; d < run.bins; ++d) weight += to_sum(depth[d * pixels]);
    const Vector<S> feature = load_vector<S>(p.context.data, element);
#pragma unroll
    for (int k = 0; k < kVector<S>; ++k) sum[k] += weight * to_sum(feature.value[k]);
    depth += p.width;
    element += p.width * p.context.row_stride;
  }
}

template <typename S, typename Index>
__global__ void forward_kernel(ForwardParams p, const Index* index) {
  using T = Sum<S>;
  constexpr int vector = kVector<S>;
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
  const int64_t total_runs = int64_t(first_run[count]) - first_run[0];
  const int64_t share = (total_runs + kShares - 1) / kShares;
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
      add_run<S>(p, run_at(index, i, p), channel, sum);
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

// ---- backward ----------------------------------------------------------------------------------

// Sixteen threads share a pixel, each with kGroups vectors of its channels. They walk the pixel's
// bins, merge neighbours of one cell, and use that cell's gradient for both results.
constexpr int kPixels = 32, kLanes = 16, kBins = 32;

template <typename T>
__device__ __forceinline__ T sum_of_lanes(T value, unsigned mask) {
  for (int step = kLanes / 2; step > 0; step /= 2)
    value += __shfl_xor_sync(mask, value, step, kLanes);
  return value;
}

template <typename S, int kGroups>
struct PixelSums {
  Sum<S> context[kGroups][kVector<S>];
  Sum<S> context_grad[kGroups][kVector<S>];

  __device__ __forceinline__ void load(const BackwardParams& p, int64_t element, bool used) {
    for (int g = 0; g < kGroups; ++g) {
      const int64_t channel = (g * kLanes + threadIdx.x) * kVector<S>;
      Vector<S> feature{};
      if (used && channel < p.padded_channels)
        feature = load_vector<S>(p.context.data, element + channel);
      for (int k = 0; k < kVector<S>; ++k) {
        context[g][k] = to_sum(feature.value[k]);
        context_grad[g][k] = 0;
      }
    }
  }

  // Adds weight * gradient of the cell and returns this thread's part of context . gradient.
  __device__ __forceinline__ Sum<S> add_cell(const BackwardParams& p, int64_t element,
                                             Sum<S> weight) {
    Sum<S> dot = 0;
    for (int g = 0; g < kGroups; ++g) {
      const int64_t channel = (g * kLanes + threadIdx.x) * kVector<S>;
      if (channel >= p.padded_channels) break;
      const Vector<S> grad = load_vector<S>(p.packed_grad, element + channel);
#pragma unroll
      for (int k = 0; k < kVector<S>; ++k) {
        const Sum<S> value = to_sum(grad.value[k]);
        dot += context[g][k] * value;
        context_grad[g][k] += weight * value;
      }
    }
    return dot;
  }
};

template <typename S, int kGroups>
__global__ void backward_kernel(BackwardParams p) {
  using T = Sum<S>;
  constexpr int vector = kVector<S>;
  __shared__ int32_t cells[kBins][kPixels];
  __shared__ T depth[kBins][kPixels];
  __shared__ T product[kBins][kPixels];
  __shared__ T features[kPixels][kLanes * vector + 1];
  const int64_t pixels = p.height * p.width;
  const int64_t blocks = (pixels + kPixels - 1) / kPixels;
  const int64_t image = blockIdx.x / blocks, pixel0 = blockIdx.x % blocks * kPixels;
  const int count = static_cast<int>(pixels - pixel0 < kPixels ? pixels - pixel0 : kPixels);
  const int thread = threadIdx.y * blockDim.x + threadIdx.x;
  const int threads = kLanes * kPixels;
  const int mine = threadIdx.y;
  // The half of the warp that shares this pixel.
  const unsigned mask = 0xffffu << (thread % 32 / kLanes * kLanes);
  const int64_t item_row = image / p.cameras * p.grid;

  PixelSums<S, kGroups> sums;
  sums.load(p, image * p.context.image_stride + (pixel0 + mine) * p.context.row_stride,
            mine < count);
  const S* source = static_cast<const S*>(p.depth) + image * p.depth_image_stride + pixel0;
  const int64_t first_point = image * p.bins * pixels + pixel0;

  for (int64_t bin0 = 0; bin0 < p.bins; bin0 += kBins) {
    const int bins = static_cast<int>(p.bins - bin0 < kBins ? p.bins - bin0 : kBins);
    for (int i = thread; i < bins * kPixels; i += threads) {
      const int d = i / kPixels, pixel = i % kPixels;
      const int64_t place = (bin0 + d) * pixels + pixel;
      cells[d][pixel] = pixel < count ? p.cells[first_point + place] : -1;
      depth[d][pixel] = pixel < count ? to_sum(source[place]) : T(0);
    }
    __syncthreads();
    for (int d = 0; d < bins;) {
      const int32_t cell = cells[d][mine];
      T weight = 0;
      int end = d;
      for (; end < bins && cells[end][mine] == cell; ++end) weight += depth[end][mine];
      T dot = 0;
      if (is_inside(cell, p.grid)) {
        dot = sums.add_cell(p, (item_row + cell) * p.padded_channels, weight);
        dot = sum_of_lanes(dot, mask);
      }
      for (int k = d + threadIdx.x; k < end; k += kLanes) product[k][mine] = dot;
      d = end;
    }
    __syncthreads();
    for (int i = thread; i < bins * kPixels; i += threads) {
      const int d = i / kPixels, pixel = i % kPixels;
      if (pixel < count)
        from_sum(product[d][pixel], static_cast<S*>(p.depth_grad) + first_point +
                                        (bin0 + d) * pixels + pixel);
    }
  }

  for (int g = 0; g < kGroups; ++g) {
    __syncthreads();
    for (int k = 0; k < vector; ++k)
      features[mine][threadIdx.x * vector + k] = sums.context_grad[g][k];
    __syncthreads();
    for (int i = thread; i < kLanes * vector * kPixels; i += threads) {
      const int pixel = i % kPixels, c = i / kPixels;
      const int64_t channel = g * kLanes * vector + c;
      if (pixel < count && channel < p.channels)
        from_sum(features[pixel][c], static_cast<S*>(p.context_grad) +
                                         (image * p.channels + channel) * pixels + pixel0 + pixel);
    }
  }
}

// ---- launches ----------------------------------------------------------------------------------

template <typename S>
void rows_of(const RowsParams& p, cudaStream_t stream) {
  const dim3 grid(blocks_for(p.rows, kTransposeTile, 0x7fffffff),
                  blocks_for(p.padded_channels, kTransposeTile, 65535),
                  blocks_for(p.images, 1, 65535));
  const auto kernel = rows_kernel<S>;
  BEVPOOL_LAUNCH(kernel, grid, dim3(kTransposeTile, kTransposeRows), 0, stream, p);
}

template <typename S>
void forward_of(const ForwardParams& p, cudaStream_t stream) {
  const int64_t vectors = p.padded_channels / kVector<S>;
  const int64_t most = kMostBlockChannels / kVector<S> < 32 ? kMostBlockChannels / kVector<S> : 32;
  const int64_t lanes = vectors < most ? vectors : most;
  const dim3 grid(p.items * ((p.grid + kTile - 1) / kTile), (vectors + lanes - 1) / lanes);
  const dim3 block(lanes, kShares);
  const size_t shared = (kTile + kShares) * (lanes * kVector<S> + 1) * sizeof(Sum<S>);
  if (p.runs != nullptr) {
    const auto kernel = forward_kernel<S, Run>;
    BEVPOOL_LAUNCH(kernel, grid, block, shared, stream, p, p.runs);
  } else {
    const auto kernel = forward_kernel<S, int64_t>;
    BEVPOOL_LAUNCH(kernel, grid, block, shared, stream, p, p.sorted_points);
  }
}

template <typename S, int kGroups>
void backward_of(const BackwardParams& p, cudaStream_t stream) {
  const int64_t blocks = (p.height * p.width + kPixels - 1) / kPixels;
  const auto kernel = backward_kernel<S, kGroups>;
  BEVPOOL_LAUNCH(kernel, dim3(p.images * blocks), dim3(kLanes, kPixels), 0, stream, p);
}

template <typename S>
void backward_of(const BackwardParams& p, cudaStream_t stream) {
  const int64_t groups = (p.padded_channels / kVector<S> + kLanes - 1) / kLanes;
  if (groups <= 1) return backward_of<S, 1>(p, stream);
  if (groups <= 2) return backward_of<S, 2>(p, stream);
  return backward_of<S, 4>(p, stream);
}

}  // namespace

#define BEVPOOL_FOR_DTYPE(function, ...)                              \
  switch (dtype) {                                                    \
    case CudaDtype::kFloat: return function<float>(__VA_ARGS__);      \
    case CudaDtype::kDouble: return function<double>(__VA_ARGS__);    \
    case CudaDtype::kBFloat16: return function<BFloat16>(__VA_ARGS__); \
    case CudaDtype::kHalf: return function<Half>(__VA_ARGS__);        \
  }

void launch_rows(CudaDtype dtype, const RowsParams& params, cudaStream_t stream) {
  BEVPOOL_FOR_DTYPE(rows_of, params, stream)
}

void launch_forward(CudaDtype dtype, const ForwardParams& params, cudaStream_t stream) {
  BEVPOOL_FOR_DTYPE(forward_of, params, stream)
}

void launch_backward(CudaDtype dtype, const BackwardParams& params, cudaStream_t stream) {
  BEVPOOL_FOR_DTYPE(backward_of, params, stream)
}

}  // namespace bevpool
