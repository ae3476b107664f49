// The CUDA kernel of the pooling's backward. No atomics: every gradient is written by one thread,
// from sums taken in a fixed order.
#include "vector.h"

namespace bevpool {
namespace {

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

void launch_backward(CudaDtype dtype, const BackwardParams& params, cudaStream_t stream) {
  BEVPOOL_FOR_DTYPE(backward_of, params, stream)
}

}  // namespace bevpool
