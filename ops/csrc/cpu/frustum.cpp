// Frustum cells on the CPU, compiled once per instruction set and without fused multiply-add, so
// that every CPU and every GPU gets the same cells.
#include "kernels.h"

namespace bevpool {

void BEVPOOL_NAMED(frustum)(const FrustumArgs& a, int64_t first_plane, int64_t last_plane) {
  for (int64_t plane = first_plane; plane < last_plane; ++plane) {
    const int64_t image = plane / a.bins;
    const float depth = a.depths[plane % a.bins];
    const PixelToGrid map =
        fold_camera(a.ego_T_cam + image * 16, a.intrinsics + image * 9, a.image_aug + image * 9,
                    a.bev_aug + image / a.cameras * 16, a.grid);
    const Grid grid = a.grid;  // local copies: the stores below cannot alias them
    for (int64_t h = 0; h < a.height; ++h) {
      const float v = a.v[h];
      const float* __restrict u = a.u;
      int32_t* __restrict cells = a.cells + (plane * a.height + h) * a.width;
      for (int64_t w = 0; w < a.width; ++w) cells[w] = frustum_cell(map, grid, u[w], v, depth);
    }
  }
}

}  // namespace bevpool
