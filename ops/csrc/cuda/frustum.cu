// The CUDA kernel that finds the BEV cell of each frustum point.
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

}  // namespace bevpool
