// The CUDA kernel that puts the features of one pixel or cell next to each other.
#include "vector.h"

namespace bevpool {
namespace {

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

template <typename S>
void rows_of(const RowsParams& p, cudaStream_t stream) {
  const dim3 grid(blocks_for(p.rows, kTransposeTile, 0x7fffffff),
                  blocks_for(p.padded_channels, kTransposeTile, 65535),
                  blocks_for(p.images, 1, 65535));
  const auto kernel = rows_kernel<S>;
  BEVPOOL_LAUNCH(kernel, grid, dim3(kTransposeTile, kTransposeRows), 0, stream, p);
}

}  // namespace

void launch_rows(CudaDtype dtype, const RowsParams& params, cudaStream_t stream) {
  BEVPOOL_FOR_DTYPE(rows_of, params, stream)
}

}  // namespace bevpool
