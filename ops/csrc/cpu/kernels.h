// What the CPU kernels offer: plain pointers in, ranges of independent work items.
// kernels.cpp, runs.cpp and frustum.cpp are compiled once per instruction set;
// kernels_for_this_cpu() picks one at run time.
#pragma once

#include <cstdint>

#include "../shared_math.h"

namespace bevpool {

enum class Dtype { kFloat, kDouble, kBFloat16, kHalf };

// Sums and workspaces are float64 for float64 and float32 for everything else. A workspace row
// holds `padded_channels` values, the channels rounded up to whole vectors, the rest zero.
// Workspaces put the rows of an image column behind each other, because runs go down columns.
constexpr int64_t kChannelMultiple = 16;
constexpr int64_t kPackRows = 64;      // cells whose gradients are packed together
constexpr int64_t kDepthPadding = 64;  // values readable behind packed depth
constexpr int64_t kRowMultiple = 16;   // rows of a column in the backward, in whole vectors
// The forward finishes BEV tiles of this size. A column's context, which all its runs within a tile
// share, stays close to the core, and so do the tile's sums.
constexpr int64_t kTileY = 8, kTileX = 32, kTileCells = kTileY * kTileX;

// Item i, place y, x, channel c of the source goes to [i, x, y, c]: `width` is 1 for BEV cells and
// the image's width for pixels.
struct PackArgs {
  Dtype dtype;
  const void* source;
  int64_t height, width, channels, padded_channels;
  int64_t item_stride, channel_stride, place_stride;  // of the source, in elements
  void* packed;  // [items, width, height, padded_channels]
};

// Planes of an image (depth bins, or channels), [P, H, W], to [W, P, packed_height]; rows from H up
// to packed_height are set to zero.
struct PackColumnsArgs {
  Dtype dtype;
  const void* source;
  int64_t image_stride, plane_stride, planes, height, width, packed_height;
  void* packed;
};

// [images, W, P, packed_height] back to [images, P, H, W].
struct UnpackColumnsArgs {
  Dtype dtype;  // of the target
  const void* packed;
  int64_t planes, height, width, packed_height;
  void* target;
};

struct ForwardArgs {
  Dtype dtype;
  const void* packed_depth;    // [images, W, D, H]
  const void* packed_context;  // [images, W, H, padded_channels]
  const Run* runs;             // by tiles
  int64_t bins, height, channels, padded_channels, bev_y, bev_x;
  void* bev;  // [B, C, Y, X]
};

struct BackwardArgs {
  Dtype dtype;
  const void* packed_depth;    // [images, W, D, H]
  const void* packed_context;  // [images, W, C, packed_height]
  const void* packed_grad;     // [B * grid, padded_channels]
  const int32_t* column_offsets;  // [images * W + 1] first run of each column
  const Run* column_runs;
  int64_t columns_per_item, bins, height, packed_height, channels, padded_channels, grid;
  void* packed_depth_grad;    // [images, W, D, H]
  void* packed_context_grad;  // [images, W, C, packed_height]
};

struct FindRunsArgs {
  const int32_t* packed_cells;  // [D, H] of one column, readable kDepthPadding on both sides
  int64_t bins, height, grid;
  int32_t column;
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
  // A work item is plane number image * planes + plane.
  void (*pack_columns)(const PackColumnsArgs&, int64_t first, int64_t last);
  void (*unpack_columns)(const UnpackColumnsArgs&, int64_t first, int64_t last);
  // Sums of a tile, [kTileCells, padded_channels], from the given runs of it.
  void (*add_runs)(const ForwardArgs&, int64_t first_run, int64_t last_run, void* sums);
  // Adds up `parts` such sums in their order and writes the tile.
  void (*write_tile)(const ForwardArgs&, int64_t tile, void* sums, int64_t parts);
  void (*backward)(const BackwardArgs&, int64_t first_column, int64_t last_column);
  // Writes at most D * H runs, in the order of bins, then rows; returns how many.
  int64_t (*find_runs)(const FindRunsArgs&, Run* runs);
  void (*frustum)(const FrustumArgs&, int64_t first_plane, int64_t last_plane);  // image * D + d
};

// Names that differ between the versions: BEVPOOL_NAMED(frustum) is frustum_avx2 under
// -DBEVPOOL_ISA=avx2.
#define BEVPOOL_PASTE_NAMES(name, isa) name##_##isa
#define BEVPOOL_PASTE(name, isa) BEVPOOL_PASTE_NAMES(name, isa)
#define BEVPOOL_NAMED(name) BEVPOOL_PASTE(name, BEVPOOL_ISA)

const Kernels& kernels_for_this_cpu();

}  // namespace bevpool
