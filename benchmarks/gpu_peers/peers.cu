// Two usual ways to pool on a GPU, written for the comparison in bev_pool.py. Both take points that
// were sorted beforehand, features with channels next to each other, and write [cells, channels];
// the wrapper's transposition is part of their time, as it would be of a user's.
#include <ATen/Dispatch.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/extension.h>

namespace {

// One thread a point and channel, atomic adds.
template <typename S>
__global__ void atomics_forward(const S* depth, const S* features, const int* point, const int* pixel,
                                const int* cell, int64_t points, int64_t channels, float* out) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= points * channels) return;
  const int64_t p = i / channels, c = i - p * channels;
  const float value = float(depth[point[p]]) * float(features[pixel[p] * channels + c]);
  atomicAdd(out + cell[p] * channels + c, value);
}

// One thread a point: its depth's gradient; atomic adds of the features' gradient.
template <typename S>
__global__ void atomics_backward(const S* depth, const S* features, const S* grad, const int* point,
                                 const int* pixel, const int* cell, int64_t points,
                                 int64_t channels, float* depth_grad, float* features_grad) {
  const int64_t p = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (p >= points) return;
  const float weight = float(depth[point[p]]);
  float dot = 0;
  for (int64_t c = 0; c < channels; ++c) {
    const float g = float(grad[cell[p] * channels + c]);
    dot += g * float(features[pixel[p] * channels + c]);
    atomicAdd(features_grad + pixel[p] * channels + c, weight * g);
  }
  depth_grad[point[p]] = dot;
}

// One thread an interval (the points of one cell, or of one pixel) and channel.
template <typename S>
__global__ void interval_sums(const S* depth, const S* rows, const int* point, const int* source,
                              const int* start, const int* target, int64_t intervals,
                              int64_t channels, float* out) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= intervals * channels) return;
  const int64_t k = i / channels, c = i - k * channels;
  float sum = 0;
  for (int p = start[k]; p < start[k + 1]; ++p)
    sum += float(depth[point[p]]) * float(rows[source[p] * channels + c]);
  out[target[k] * channels + c] = sum;
}

template <typename S>
__global__ void depth_gradient(const S* features, const S* grad, const int* point, const int* pixel,
                               const int* cell, int64_t points, int64_t channels,
                               float* depth_grad) {
  const int64_t p = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (p >= points) return;
  float dot = 0;
  for (int64_t c = 0; c < channels; ++c)
    dot += float(grad[cell[p] * channels + c]) * float(features[pixel[p] * channels + c]);
  depth_grad[point[p]] = dot;
}

int blocks_for(int64_t threads) { return static_cast<int>((threads + 255) / 256); }

const int* ints(const at::Tensor& t) { return t.const_data_ptr<int>(); }

}  // namespace

#define FOR_DTYPE(tensor, ...)                                                             \
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, (tensor).scalar_type(), "peer", \
                                  __VA_ARGS__)

void run_atomics_forward(at::Tensor depth, at::Tensor features, at::Tensor point, at::Tensor pixel,
                         at::Tensor cell, at::Tensor out) {
  const int64_t points = point.numel(), channels = features.size(1);
  FOR_DTYPE(depth, [&] {
    atomics_forward<scalar_t><<<blocks_for(points * channels), 256, 0,
                                c10::cuda::getCurrentCUDAStream()>>>(
        depth.const_data_ptr<scalar_t>(), features.const_data_ptr<scalar_t>(), ints(point),
        ints(pixel), ints(cell), points, channels, out.data_ptr<float>());
  });
}

void run_atomics_backward(at::Tensor depth, at::Tensor features, at::Tensor grad, at::Tensor point,
                          at::Tensor pixel, at::Tensor cell, at::Tensor depth_grad,
                          at::Tensor features_grad) {
  const int64_t points = point.numel(), channels = features.size(1);
  FOR_DTYPE(depth, [&] {
    atomics_backward<scalar_t><<<blocks_for(points), 256, 0, c10::cuda::getCurrentCUDAStream()>>>(
        depth.const_data_ptr<scalar_t>(), features.const_data_ptr<scalar_t>(),
        grad.const_data_ptr<scalar_t>(), ints(point), ints(pixel), ints(cell), points, channels,
        depth_grad.data_ptr<float>(), features_grad.data_ptr<float>());
  });
}

void run_interval_sums(at::Tensor depth, at::Tensor rows, at::Tensor point, at::Tensor source,
                       at::Tensor start, at::Tensor target, at::Tensor out) {
  const int64_t intervals = target.numel(), channels = rows.size(1);
  FOR_DTYPE(depth, [&] {
    interval_sums<scalar_t><<<blocks_for(intervals * channels), 256, 0,
                              c10::cuda::getCurrentCUDAStream()>>>(
        depth.const_data_ptr<scalar_t>(), rows.const_data_ptr<scalar_t>(), ints(point),
        ints(source), ints(start), ints(target), intervals, channels, out.data_ptr<float>());
  });
}

void run_depth_gradient(at::Tensor features, at::Tensor grad, at::Tensor point, at::Tensor pixel,
                        at::Tensor cell, at::Tensor depth_grad) {
  const int64_t points = point.numel(), channels = features.size(1);
  FOR_DTYPE(features, [&] {
    depth_gradient<scalar_t><<<blocks_for(points), 256, 0, c10::cuda::getCurrentCUDAStream()>>>(
        features.const_data_ptr<scalar_t>(), grad.const_data_ptr<scalar_t>(), ints(point),
        ints(pixel), ints(cell), points, channels, depth_grad.data_ptr<float>());
  });
}

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  m.def("atomics_forward", run_atomics_forward);
  m.def("atomics_backward", run_atomics_backward);
  m.def("interval_sums", run_interval_sums);
  m.def("depth_gradient", run_depth_gradient);
}
