// The arithmetic that the CPU and the CUDA kernels share, so that CPU tests cover what CUDA runs.
// No torch, no standard library: g++ and nvcc both compile it.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define BEVPOOL_INLINE __host__ __device__ __forceinline__
#else
#define BEVPOOL_INLINE inline __attribute__((always_inline))
#endif

namespace bevpool {

// A rectangle of frustum points in one image column that all fall into one BEV cell:
// rows [pixel, pixel + rows) down the column, bins [first_bin, first_bin + bins).
struct Run {
  int32_t pixel;  // (image * H + h) * W + w of the first row; image = b * N + n
  int32_t first_bin;
  int32_t bins;
  int32_t rows;
};

struct Grid {
  double lower[3];  // x, y, z, metres
  double cell_size[3];
  int32_t size[3];
  bool truncate;  // (-1, 0) belongs to cell 0, as in the public BEVDepth code
};

// Maps (u, v, depth) to coordinates counted in cells: m * (u, v, 1) * depth + t.
struct PixelToGrid {
  float m[3][3];
  float t[3];
};

// Internal linkage: the CPU versions for different instruction sets must not be merged.
namespace {

// Hostile values (INT_MIN, INT_MAX, beyond the grid) count as outside.
BEVPOOL_INLINE bool is_inside(int32_t cell, int64_t grid) {
  return cell >= 0 && cell < grid;
}

// Products and sums that no compiler may fuse: CPU and CUDA then agree to the last bit.
// (The CPU side is compiled with -ffp-contract=off.)
#ifdef __CUDA_ARCH__
BEVPOOL_INLINE float mul(float a, float b) { return __fmul_rn(a, b); }
BEVPOOL_INLINE float add(float a, float b) { return __fadd_rn(a, b); }
BEVPOOL_INLINE double mul(double a, double b) { return __dmul_rn(a, b); }
BEVPOOL_INLINE double add(double a, double b) { return __dadd_rn(a, b); }
#else
BEVPOOL_INLINE float mul(float a, float b) { return a * b; }
BEVPOOL_INLINE float add(float a, float b) { return a + b; }
BEVPOOL_INLINE double mul(double a, double b) { return a * b; }
BEVPOOL_INLINE double add(double a, double b) { return a + b; }
#endif

BEVPOOL_INLINE double dot3(const double* row, int row_step, const double* column, int column_step) {
  return add(add(mul(row[0], column[0]), mul(row[row_step], column[column_step])),
             mul(row[2 * row_step], column[2 * column_step]));
}

BEVPOOL_INLINE void invert3(const double* a, double* inverse) {
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 3; ++j) {
      const int r0 = (j + 1) % 3, r1 = (j + 2) % 3, c0 = (i + 1) % 3, c1 = (i + 2) % 3;
      inverse[i * 3 + j] = add(mul(a[r0 * 3 + c0], a[r1 * 3 + c1]),
                               -mul(a[r0 * 3 + c1], a[r1 * 3 + c0]));
    }
  }
  const double determinant = dot3(a, 1, inverse, 3);
  for (int i = 0; i < 9; ++i) inverse[i] /= determinant;
}

// Folds the four matrices of one camera (row-major, float64) into one float32 affine map.
BEVPOOL_INLINE PixelToGrid fold_camera(const double* ego_T_cam, const double* intrinsics,
                                       const double* image_aug, const double* bev_aug,
                                       const Grid& grid) {
  double pixel_from_ray[9], ray_from_pixel[9];
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j)
      pixel_from_ray[i * 3 + j] = dot3(image_aug + i * 3, 1, intrinsics + j, 3);
  invert3(pixel_from_ray, ray_from_pixel);
  PixelToGrid folded;
  for (int i = 0; i < 3; ++i) {
    double rotation[3];
    for (int j = 0; j < 3; ++j) rotation[j] = dot3(bev_aug + i * 4, 1, ego_T_cam + j, 4);
    const double translation = add(dot3(bev_aug + i * 4, 1, ego_T_cam + 3, 4), bev_aug[i * 4 + 3]);
    for (int j = 0; j < 3; ++j)
      folded.m[i][j] =
          static_cast<float>(dot3(rotation, 1, ray_from_pixel + j, 3) / grid.cell_size[i]);
    folded.t[i] = static_cast<float>(add(translation, -grid.lower[i]) / grid.cell_size[i]);
  }
  return folded;
}

// Written so that NaN compares as outside.
BEVPOOL_INLINE bool is_inside_axis(float coordinate, int32_t size, bool truncate) {
  const bool above = truncate ? coordinate > -1.0f : coordinate >= 0.0f;
  return above & (coordinate < static_cast<float>(size));
}

BEVPOOL_INLINE int32_t frustum_cell(const PixelToGrid& map, const Grid& grid, float u, float v,
                                    float depth) {
  float coordinate[3];
  for (int i = 0; i < 3; ++i) {
    const float ray =
        add(mul(map.m[i][0], u), add(mul(map.m[i][1], v), map.m[i][2]));
    coordinate[i] = add(mul(ray, depth), map.t[i]);
  }
  const bool inside = is_inside_axis(coordinate[0], grid.size[0], grid.truncate) &
                      is_inside_axis(coordinate[1], grid.size[1], grid.truncate) &
                      is_inside_axis(coordinate[2], grid.size[2], grid.truncate);
  // Conversion of a value outside int32 is undefined, so only inside values are converted.
  const float x = inside ? coordinate[0] : 0.0f;
  const float y = inside ? coordinate[1] : 0.0f;
  const int32_t cell = static_cast<int32_t>(y) * grid.size[0] + static_cast<int32_t>(x);
  return inside ? cell : -1;
}

}  // namespace
}  // namespace bevpool
