// The arithmetic that the CPU and the CUDA kernels share, so that CPU tests cover what CUDA runs.
// No torch: g++ and nvcc both compile it.
#pragma once

#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#include <cuda_fp16.h>
#define BEVPOOL_INLINE __host__ __device__ __forceinline__
#else
#define BEVPOOL_INLINE inline __attribute__((always_inline))
#endif

namespace bevpool {

// A rectangle of frustum points in one image column that all fall into one BEV cell. Cameras stand
// upright, so most points of a column share their cell with the rows above and below.
struct Run {
  // The BEV cell within the batch item. In the CPU's list by tiles: the cell's place in the tile; in
  // the GPU's list by columns: the run's place in the list by cells.
  int32_t cell;
  int32_t column;  // image * W + w, where image = b * N + n
  int16_t first_bin, bins, first_row, rows;
};
static_assert(sizeof(Run) == 16, "a plan stores a run in four int32");

// On the GPU, runs end where a tile of this many image rows does.
constexpr int kRowTile = 16;

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

// Storage types; arithmetic is in Sum<T>.
struct BFloat16 {
  uint16_t bits;
};
struct Half {
  uint16_t bits;
};

template <typename T>
struct SumOf {
  using type = float;
};
template <>
struct SumOf<double> {
  using type = double;
};
template <typename T>
using Sum = typename SumOf<T>::type;

// Internal linkage: the CPU versions for different instruction sets must not be merged.
namespace {

// Hostile values (INT_MIN, INT_MAX, beyond the grid) count as outside.
BEVPOOL_INLINE bool is_inside(int32_t cell, int64_t grid) {
  return cell >= 0 && cell < grid;
}

template <typename To, typename From>
BEVPOOL_INLINE To bit_cast(const From& from) {
  static_assert(sizeof(To) == sizeof(From), "bit_cast needs equal sizes");
  To to;
  memcpy(&to, &from, sizeof(to));
  return to;
}

BEVPOOL_INLINE float to_sum(float x) { return x; }
BEVPOOL_INLINE double to_sum(double x) { return x; }
BEVPOOL_INLINE float to_sum(BFloat16 x) {
  return bit_cast<float>(static_cast<uint32_t>(x.bits) << 16);
}
BEVPOOL_INLINE float to_sum(Half x) {
#ifdef __CUDA_ARCH__
  return __half2float(__ushort_as_half(x.bits));
#else
  const uint32_t sign = static_cast<uint32_t>(x.bits & 0x8000u) << 16;
  uint32_t magnitude = static_cast<uint32_t>(x.bits & 0x7fffu) << 13;
  if (magnitude >= 0x0f800000u) return bit_cast<float>(sign | magnitude | 0x7f800000u);
  // 2^112 moves the exponent bias from 15 to 127 and normalises subnormals.
  return bit_cast<float>(sign | bit_cast<uint32_t>(bit_cast<float>(magnitude) * 5.192296858534828e33f));
#endif
}

BEVPOOL_INLINE void from_sum(float x, float* out) { *out = x; }
BEVPOOL_INLINE void from_sum(double x, double* out) { *out = x; }
BEVPOOL_INLINE void from_sum(float x, BFloat16* out) {
  const uint32_t bits = bit_cast<uint32_t>(x);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  out->bits = static_cast<uint16_t>(x != x ? 0x7fc0u : rounded);
}
BEVPOOL_INLINE void from_sum(float x, Half* out) {
#ifdef __CUDA_ARCH__
  out->bits = __half_as_ushort(__float2half_rn(x));
#else
  const uint32_t bits = bit_cast<uint32_t>(x);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  uint32_t half;
  if (magnitude > 0x7f800000u) {
    half = 0x7e00u;
  } else if (magnitude >= 0x477ff000u) {  // 65520 and above round to infinity
    half = 0x7c00u;
  } else if (magnitude < 0x38800000u) {  // below 2^-14: adding 0.5 leaves the subnormal's bits
    half = bit_cast<uint32_t>(bit_cast<float>(magnitude) + 0.5f) - 0x3f000000u;
  } else {
    half = (magnitude + 0xc8000fffu + ((magnitude >> 13) & 1u)) >> 13;
  }
  out->bits = static_cast<uint16_t>(sign | half);
#endif
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
