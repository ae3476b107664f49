// What the CPU kernels offer: plain pointers in, ranges of independent work items.
// kernels.cpp is compiled once per instruction set; kernels_for_this_cpu() picks one at run time.
#pragma once

#include <cstdint>

#include "../shared_math.h"

namespace bevpool {

enum class Dtype { kFloat, kDouble, kBFloat16, kHalf };

// Sums and workspaces are float64 for float64 and float32 for everything else. A workspace row
// holds `padded_channels` values, the channels rounded up to whole vectors, the rest zero.
// Workspaces put the rows of an image column behind each other, because runs go down columns.
constexpr int64_t kChannelMultiple = 16;
constexpr int64_t kTileCells = 128;    // BEV cells that the forward finishes together
constexpr int64_t kPackRows = 64;     // cells whose gradients are packed together
constexpr int64_t kColumnBlock = 16;  // image columns that the backward finishes together
constexpr int64_t kDepthPadding = 64;  // values readable behind packed depth

// Item i, place y, x, channel c of the source goes to [i, x, y, c]: `width` is 1 for BEV cells and
// the image's width for pixels.
struct PackArgs {
  Dtype dtype;
  const void* source;
  int64_t height, width, channels, padded_channels;
  int64_t item_stride, channel_stride, place_stride;  // of the source, in elements
  void* packed;  // [items, width, height, padded_channels]
};

// [D, H, W] of each image to [W, D, H].
struct PackDepthArgs {
  Dtype dtype;
  const void* depth;
  int64_t image_stride, bins, height, width;
  void* packed;
};

struct ForwardArgs {
  Dtype dtype;
  const void* packed_depth;    // [images, W, D, H]
  const void* packed_context;  // [images, W, H, padded_channels]
  const int32_t* offsets;      // [B * grid + 1] first run of each cell
  const Run* runs;
  int64_t bins, height, channels, padded_channels, grid;
  void* bev;  // [B, C, grid]
};

// A run and the cell it falls into, for walking columns rather than cells.
struct CellRun {
  int32_t cell;
  Run run;
};

struct BackwardArgs {
  Dtype dtype;
  const void* depth;              // [D, H, W] contiguous within an image
  int64_t depth_image_stride;
  const void* context;  // any strides
  int64_t context_image_stride, context_channel_stride, context_pixel_stride;
  const void* packed_grad;        // [B * grid, padded_channels]
  const int32_t* column_offsets;  // [images * W + 1] first run of each column
  const CellRun* runs;
  int64_t cameras, bins, height, width, channels, padded_channels, grid;
  void* depth_grad;    // [images, D, H, W]
  void* context_grad;  // [images, C, H, W]
};

// For each point of one image: rows | bins << 16 where a Run starts, else 0.
struct RunStartArgs {
  const int32_t* cells;  // [D, H, W]
  int64_t bins, height, width, grid;
  int32_t* starts;      // [D, H, W]
  int32_t* row_buffer;  // [2, H, W]
};

struct FrustumArgs {
  const double* ego_T_cam;   // [images, 4, 4]
  const double* intrinsics;  // [images, 3, 3]
  const double* image_aug;   // [images, 3, 3]
  const double* bev_aug;     // [B, 4, 4]
  const float* u;            // [W]
  const float* v;            // [H]
  const float* depths;       // [D]
  int64_t cameras, bins, height, width;
  Grid grid;
  int32_t* cells;  // [images, D, H, W]
};

struct Kernels {
  const char* instruction_set;
  // A work item is kPackRows cells (width 1) or one row of an image.
  void (*pack)(const PackArgs&, int64_t first, int64_t last);
  void (*pack_depth)(const PackDepthArgs&, int64_t first_plane, int64_t last_plane);
  void (*forward)(const ForwardArgs&, int64_t first_tile, int64_t last_tile);
  void (*backward)(const BackwardArgs&, int64_t first_block, int64_t last_block);
  void (*run_starts)(const RunStartArgs&);
  void (*frustum)(const FrustumArgs&, int64_t first_plane, int64_t last_plane);  // image * D + d
};

// Names that differ between the versions: BEVPOOL_NAMED(frustum) is frustum_avx2 under
// -DBEVPOOL_ISA=avx2.
#define BEVPOOL_PASTE_NAMES(name, isa) name##_##isa
#define BEVPOOL_PASTE(name, isa) BEVPOOL_PASTE_NAMES(name, isa)
#define BEVPOOL_NAMED(name) BEVPOOL_PASTE(name, BEVPOOL_ISA)

const Kernels& kernels_for_this_cpu();

}  // namespace bevpool
