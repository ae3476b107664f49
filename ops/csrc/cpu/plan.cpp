// Makes the index of the pooling: the runs of every image, sorted for the forward and the backward.
#include "plan.h"

#include <ATen/ops/empty.h>

#include "../checks.h"
#include "share.h"

namespace bevpool {
namespace {

ImageRuns find_runs_of_image(const int32_t* cells, int64_t bins, int64_t height, int64_t width,
                             int64_t grid, int64_t image) {
  const Kernels& kernels = kernels_for_this_cpu();
  const int64_t column_size = bins * height;
  std::vector<int32_t> columns(column_size * width + 2 * kDepthPadding);  // [W, D, H]
  // Moving float32 values around leaves their bits alone, so integers go the same way.
  kernels.pack_columns({Dtype::kFloat, cells, 0, height * width, bins, height, width, height,
                        &columns[kDepthPadding]},
                       0, bins);
  std::vector<Run> buffer(column_size);
  ImageRuns found;
  found.column_offsets.push_back(0);
  for (int64_t w = 0; w < width; ++w) {
    const int64_t count = kernels.find_runs(
        {&columns[kDepthPadding + w * column_size], bins, height, grid,
         static_cast<int32_t>(image * width + w)},
        buffer.data());
    found.runs.insert(found.runs.end(), buffer.begin(), buffer.begin() + count);
    found.column_offsets.push_back(static_cast<int32_t>(found.runs.size()));
  }
  return found;
}

// The tile that a cell belongs to, and the cell's place in it.
struct TileAndPlace {
  int32_t tile, place;
};

TileAndPlace find_tile(int32_t cell, int32_t bev_x, int32_t tiles_x) {
  const int32_t y = cell / bev_x, x = cell - y * bev_x;
  constexpr int32_t tile_y = kTileY, tile_x = kTileX;
  return {y / tile_y * tiles_x + x / tile_x, y % tile_y * tile_x + x % tile_x};
}

int64_t tiles_along(int64_t cells, int64_t tile) { return (cells + tile - 1) / tile; }

}  // namespace

int64_t tiles_of(int64_t bev_y, int64_t bev_x) {
  return tiles_along(bev_y, kTileY) * tiles_along(bev_x, kTileX);
}

std::vector<ImageRuns> find_runs(const Tensor& cells, int64_t grid) {
  const int64_t bins = cells.size(2), height = cells.size(3), width = cells.size(4);
  std::vector<ImageRuns> images(cells.size(0) * cells.size(1));
  const int32_t* data = cells.const_data_ptr<int32_t>();
  share(static_cast<int64_t>(images.size()), 1, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i)
      images[i] =
          find_runs_of_image(data + i * bins * height * width, bins, height, width, grid, i);
  });
  return images;
}

// A counting sort: every image counts its runs of each tile, and so knows where they go.
RunList runs_by_tile(const std::vector<ImageRuns>& images, const Tensor& cells, int64_t bev_y,
                     int64_t bev_x) {
  const int64_t items = cells.size(0), cameras = cells.size(1);
  const int64_t tiles = tiles_of(bev_y, bev_x);
  const int32_t tiles_x = static_cast<int32_t>(tiles_along(bev_x, kTileX));
  std::vector<std::vector<TileAndPlace>> where(images.size());
  std::vector<std::vector<int32_t>> next(images.size());
  share(static_cast<int64_t>(images.size()), 1, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      next[i].assign(tiles, 0);
      for (const Run& run : images[i].runs) {
        where[i].push_back(find_tile(run.cell, static_cast<int32_t>(bev_x), tiles_x));
        ++next[i][where[i].back().tile];
      }
    }
  });

  RunList list{at::empty({items * tiles + 1}, cells.options()), {}};
  int32_t* offset = list.offsets.data_ptr<int32_t>();
  int32_t total = 0;
  for (int64_t b = 0; b < items; ++b)
    for (int64_t tile = 0; tile < tiles; ++tile) {
      *offset++ = total;
      for (int64_t i = b * cameras; i < (b + 1) * cameras; ++i) {
        const int32_t count = next[i][tile];
        next[i][tile] = total;
        total += count;
      }
    }
  *offset = total;

  list.runs = at::empty({total, 4}, cells.options());
  Run* sorted = reinterpret_cast<Run*>(list.runs.data_ptr<int32_t>());
  share(static_cast<int64_t>(images.size()), 1, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i)
      for (size_t r = 0; r < where[i].size(); ++r) {
        Run& run = sorted[next[i][where[i][r].tile]++];
        run = images[i].runs[r];
        run.cell = where[i][r].place;
      }
  });
  return list;
}

RunList column_runs(const std::vector<ImageRuns>& images, const Tensor& cells) {
  const int64_t width = cells.size(4);
  RunList list{at::empty({static_cast<int64_t>(images.size()) * width + 1}, cells.options()), {}};
  int32_t* offset = list.offsets.data_ptr<int32_t>();
  int32_t total = 0;
  for (const ImageRuns& image : images) {
    for (int64_t w = 0; w < width; ++w) *offset++ = total + image.column_offsets[w];
    total += static_cast<int32_t>(image.runs.size());
  }
  *offset = total;
  list.runs = at::empty({total, 4}, cells.options());
  Run* target = reinterpret_cast<Run*>(list.runs.data_ptr<int32_t>());
  for (const ImageRuns& image : images)
    target = std::copy(image.runs.begin(), image.runs.end(), target);
  return list;
}

Plan bev_pool_plan(const Tensor& cells_in, int64_t bev_y, int64_t bev_x, bool for_gpu) {
  check_cells(cells_in, bev_y, bev_x);
  const Tensor cells = cells_in.contiguous();
  const std::vector<ImageRuns> images = find_runs(cells, bev_y * bev_x);
  if (for_gpu) return gpu_plan(images, cells, bev_y * bev_x);
  const RunList forward = runs_by_tile(images, cells, bev_y, bev_x);
  const RunList backward = column_runs(images, cells);
  return {forward.offsets, forward.runs, backward.offsets, backward.runs};
}

}  // namespace bevpool
