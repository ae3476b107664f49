// The CUDA kernels as plain functions: device pointers, sizes and a stream. No torch.
#pragma once

#include <cstdint>

#include "../shared_math.h"

#ifdef BEVPOOL_EMULATE
using cudaStream_t = void*;
#else
#include <cuda_runtime_api.h>
#endif

namespace bevpool {

enum class CudaDtype { kFloat, kDouble, kBFloat16, kHalf };

// Channels that one thread reads at once (16 bytes). Rows are padded to whole vectors.
inline int64_t channels_per_vector(CudaDtype dtype) {
  return dtype == CudaDtype::kDouble ? 2 : dtype == CudaDtype::kFloat ? 4 : 8;
}
// More channels than this are given to launch_backward in slices.
inline int64_t most_backward_channels(CudaDtype dtype) { return 64 * channels_per_vector(dtype); }

// [images, channels, rows] with neighbouring rows -> [images, rows, padded_channels].
struct RowsParams {
  const void* source;
  int64_t images, rows, channels, padded_channels, image_stride, channel_stride;
  void* packed;
};

// Pixel or cell features next to each other; strides are in elements and keep 16-byte alignment.
struct FeatureRows {
  const void* data;
  int64_t image_stride, row_stride;
};

// The sums of a plan's runs, by image column and row tile.
struct ColumnParams {
  const void* depth;
  int64_t depth_image_stride;
  FeatureRows context;
  const int32_t* offsets;  // [images * W * row tiles + 1] first run of each
  const Run* runs;         // a run's `cell` is the row of `sums` that its sum goes to
  int64_t images, bins, height, width, padded_channels;
  void* sums;  // [R, padded_channels] in the summing type
};

// What is added up for each cell, and the output.
struct CellParams {
  const int32_t* offsets;  // [items * grid + 1] first part of each cell
  int64_t items, channels, padded_channels, grid;
  void* bev;
};

struct PointParams {
  const void* depth;
  int64_t depth_image_stride;
  FeatureRows context;
  const int64_t* points;  // sorted by cell
  int64_t bins, height, width;
};

struct BackwardParams {
  const void* depth;
  int64_t depth_image_stride;
  FeatureRows context;
  const void* packed_grad;  // [items * grid, padded_channels]
  const int32_t* cells;
  int64_t images, cameras, bins, height, width, channels, padded_channels, grid;
  void* depth_grad;
  void* context_grad;
};

struct FrustumParams {
  const double* ego_T_cam;
  const double* intrinsics;
  const double* image_aug;
  const double* bev_aug;
  const float* u;
  const float* v;
  const float* depths;
  int64_t images, cameras, bins, height, width;
  Grid grid;
  int32_t* cells;
};

// Whether the kernels were compiled for the current GPU, or can be translated for it.
bool runs_on_current_gpu();

void launch_rows(CudaDtype dtype, const RowsParams& params, cudaStream_t stream);
void launch_columns(CudaDtype dtype, const ColumnParams& params, cudaStream_t stream);
void launch_pool_run_sums(CudaDtype dtype, const CellParams& params, const void* sums,
                          cudaStream_t stream);
void launch_pool_points(CudaDtype dtype, const CellParams& params, const PointParams& points,
                        cudaStream_t stream);
void launch_backward(CudaDtype dtype, const BackwardParams& params, cudaStream_t stream);
void launch_frustum(const FrustumParams& params, cudaStream_t stream);
// keys[p] = item * grid + cell, or items * grid for points outside.
void launch_cell_keys(const int32_t* cells, int64_t items, int64_t points_per_item, int64_t grid,
                      int32_t* keys, cudaStream_t stream);
// offsets[c] = number of sorted keys below c, for c = 0 .. cells.
void launch_offsets(const int32_t* sorted_keys, int64_t points, int64_t cells, int32_t* offsets,
                    cudaStream_t stream);

}  // namespace bevpool
