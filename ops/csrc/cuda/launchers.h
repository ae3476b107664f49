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

// [images, channels, rows] with neighbouring rows -> [images, rows, padded_channels].
struct RowsParams {
  const void* source;
  int64_t images, rows, channels, padded_channels, image_stride, channel_stride;
  void* packed;
};

// Features of pixels; strides are in elements.
struct PixelFeatures {
  const void* data;
  int64_t image_stride, channel_stride, pixel_stride;
};

// Runs on the GPU keep to a column and a tile of kRowTile rows. There are images * W * row tiles
// such groups, numbered in this order.
BEVPOOL_INLINE int64_t row_tiles_of(int64_t height) {
  return (height + kRowTile - 1) / kRowTile;
}
BEVPOOL_INLINE int64_t most_runs_of_group(int64_t bins, int64_t height) {
  return bins * (height < kRowTile ? height : kRowTile);
}

// Where each group's runs are in a list. With a plan, they lie behind each other and `offsets` says
// where each begins. Without, each group has room for `room` runs; `counts` says how many it has.
struct RunGroups {
  const int32_t* offsets;
  const int32_t* counts;
  int64_t room;
};

// Finds the runs of all columns.
struct FindRunsParams {
  const int32_t* cells;
  int64_t images, cameras, bins, height, width, grid;
  Run* runs;            // [groups, room]
  int32_t* group_runs;  // [groups], how many each has
  int32_t* cell_runs;   // [items * grid], how many each has; zero before
};

// Sorts the runs by cell.
struct SortRunsParams {
  const int32_t* cell_offsets;  // [items * grid + 1]
  int32_t* cell_runs;           // [items * grid], as found; counted down to zero
  RunGroups groups;
  int64_t columns_per_item, group_count, cells, grid;
  Run* runs;           // as found; `cell` becomes the run's place in `by_cell`
  uint32_t* unsorted;  // room for every run's number in `runs`
  uint32_t* by_cell;   // the same, sorted
};

// Sums of the runs, by image column and row tile.
struct ColumnParams {
  const void* depth;
  int64_t depth_image_stride;
  PixelFeatures context;
  RunGroups groups;
  const Run* runs;  // a run's `cell` is its place in the list by cells
  int64_t images, bins, height, width, channels, padded_channels;
  void* sums;        // [sum_rows, padded_channels] in the summing type
  int64_t sum_rows;  // runs with a later place are left out
};

// Adds up the runs of each cell: from their sums where there are, else from depth and context.
struct CellParams {
  const void* depth;
  int64_t depth_image_stride;
  PixelFeatures context;
  const int32_t* offsets;   // [items * grid + 1] first run of each cell
  const Run* runs;          // by cells, if by_cell is null
  const uint32_t* by_cell;  // else the numbers in `runs` of the runs by cells
  const void* sums;
  int64_t sum_rows;
  int64_t items, height, width, channels, padded_channels, grid;
  void* bev;
};

struct BackwardParams {
  const void* depth;
  int64_t depth_image_stride;
  PixelFeatures context;
  const void* packed_grad;  // [items * grid, padded_channels]
  RunGroups groups;
  const Run* runs;  // what their `cell` says is not read
  const int32_t* cells;
  int64_t images, cameras, bins, height, width, channels, padded_channels, grid;
  void* depth_grad;  // zero before
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
void launch_find_runs(const FindRunsParams& params, cudaStream_t stream);
void launch_sort_runs(const SortRunsParams& params, cudaStream_t stream);
void launch_columns(CudaDtype dtype, const ColumnParams& params, cudaStream_t stream);
void launch_pool_cells(CudaDtype dtype, const CellParams& params, cudaStream_t stream);
void launch_backward(CudaDtype dtype, const BackwardParams& params, cudaStream_t stream);
void launch_frustum(const FrustumParams& params, cudaStream_t stream);

}  // namespace bevpool
