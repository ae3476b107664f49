// CUDA kernels for BEV cells and their order: which cell a frustum point falls into, the key it is
// sorted by, and where each cell's points begin.
#include "launch.h"

namespace bevpool {
namespace {

__global__ void frustum_kernel(FrustumParams p) {
  __shared__ PixelToGrid map;
  const int64_t points = p.bins * p.height * p.width;
  for (int64_t image = blockIdx.y; image < p.images; image += gridDim.y) {
    if (threadIdx.x == 0)
      map = fold_camera(p.ego_T_cam + image * 16, p.intrinsics + image * 9,
                        p.image_aug + image * 9, p.bev_aug + image / p.cameras * 16, p.grid);
    __syncthreads();
    for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < points;
         i += int64_t(gridDim.x) * blockDim.x) {
      const int64_t row = i / p.width, d = row / p.height;
      p.cells[image * points + i] = frustum_cell(map, p.grid, p.u[i - row * p.width],
                                                 p.v[row - d * p.height], p.depths[d]);
    }
    __syncthreads();
  }
}

__global__ void cell_keys_kernel(const int32_t* cells, int64_t items, int64_t points_per_item,
                                 int64_t grid, int32_t* keys) {
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < items * points_per_item;
       i += int64_t(gridDim.x) * blockDim.x) {
    const int64_t key = is_inside(cells[i], grid) ? i / points_per_item * grid + cells[i]
                                                  : items * grid;
    keys[i] = static_cast<int32_t>(key);
  }
}

__global__ void offsets_kernel(const int32_t* sorted_keys, int64_t points, int64_t cells,
                               int32_t* offsets) {
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i <= points;
       i += int64_t(gridDim.x) * blockDim.x) {
    // Cells above the previous key and up to this one begin here.
    const int64_t first = i == 0 ? 0 : int64_t(sorted_keys[i - 1]) + 1;
    const int64_t last = i == points ? cells : sorted_keys[i];
    for (int64_t cell = first; cell <= last && cell <= cells; ++cell)
      offsets[cell] = static_cast<int32_t>(i);
  }
}

}  // namespace

#ifndef BEVPOOL_EMULATE
bool runs_on_current_gpu() {
  cudaFuncAttributes attributes;
  if (cudaFuncGetAttributes(&attributes, frustum_kernel) == cudaSuccess) return true;
  cudaGetLastError();  // so that the next launch does not report it
  return false;
}
#endif

void launch_frustum(const FrustumParams& params, cudaStream_t stream) {
  const int64_t points = params.bins * params.height * params.width;
  const dim3 grid(blocks_for(points, 256 * 16, 65535), blocks_for(params.images, 1, 65535));
  BEVPOOL_LAUNCH(frustum_kernel, grid, dim3(256), 0, stream, params);
}

void launch_cell_keys(const int32_t* cells, int64_t items, int64_t points_per_item, int64_t grid,
                      int32_t* keys, cudaStream_t stream) {
  const dim3 blocks(blocks_for(items * points_per_item, 256 * 4, 65535));
  BEVPOOL_LAUNCH(cell_keys_kernel, blocks, dim3(256), 0, stream, cells, items, points_per_item,
                 grid, keys);
}

void launch_offsets(const int32_t* sorted_keys, int64_t points, int64_t cells, int32_t* offsets,
                    cudaStream_t stream) {
  const dim3 blocks(blocks_for(points + 1, 256 * 4, 65535));
  BEVPOOL_LAUNCH(offsets_kernel, blocks, dim3(256), 0, stream, sorted_keys, points, cells,
                 offsets);
}

}  // namespace bevpool
