// The CUDA kernel that puts the features of one cell next to each other.
#include "vector.h"

namespace bevpool {
namespace {

// A block takes kRowChannels channels of kRowCells neighbouring cells.
constexpr int kRowCells = 32, kRowsAtOnce = 8, kRowPitch = kRowCells + 1, kRowChannels = 128;

template <typename S>
__global__ void rows_kernel(RowsParams p) {
  BEVPOOL_SHARED_MEMORY(shared);
  S* tile = reinterpret_cast<S*>(shared);  // [channels, kRowPitch]
  const int64_t tiles = (p.rows + kRowCells - 1) / kRowCells;
  const int64_t image = blockIdx.x / tiles, row0 = blockIdx.x % tiles * kRowCells;
  const int64_t channel0 = int64_t(blockIdx.y) * kRowChannels;
  const int64_t left = p.padded_channels - channel0;
  const int x = threadIdx.x, width = static_cast<int>(left < kRowChannels ? left : kRowChannels);
  const S* source =
      static_cast<const S*>(p.source) + image * p.image_stride + channel0 * p.channel_stride;
  const bool exists = row0 + x < p.rows;
#pragma unroll 5
  for (int c = threadIdx.y; c < width; c += kRowsAtOnce)
    tile[c * kRowPitch + x] =
        exists && channel0 + c < p.channels ? source[c * p.channel_stride + row0 + x] : S{};
  __syncthreads();
  const int count = static_cast<int>(p.rows - row0 < kRowCells ? p.rows - row0 : kRowCells);
  S* packed =
      static_cast<S*>(p.packed) + (image * p.rows + row0) * p.padded_channels + channel0;
  for (int row = threadIdx.y; row < count; row += kRowsAtOnce)
    for (int c = x; c < width; c += kRowCells)
      packed[row * p.padded_channels + c] = tile[c * kRowPitch + row];
}

template <typename S>
void rows_of(const RowsParams& p, cudaStream_t stream) {
  const dim3 grid(p.images * ((p.rows + kRowCells - 1) / kRowCells),
                  (p.padded_channels + kRowChannels - 1) / kRowChannels);
  const int64_t width = p.padded_channels < kRowChannels ? p.padded_channels : kRowChannels;
  const size_t shared = width * kRowPitch * sizeof(S);
  const auto kernel = rows_kernel<S>;
  BEVPOOL_LAUNCH(kernel, grid, dim3(kRowCells, kRowsAtOnce), shared, stream, p);
}

}  // namespace

void launch_rows(CudaDtype dtype, const RowsParams& params, cudaStream_t stream) {
  BEVPOOL_FOR_DTYPE(rows_of, params, stream)
}

}  // namespace bevpool
