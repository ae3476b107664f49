// The index of the pooling for a GPU; see plan.h.
#include <ATen/ops/empty.h>

#include <algorithm>

#include "plan.h"

namespace bevpool {
namespace {

using at::Tensor;

// The part of the run within rows [first, last), or one with no rows.
Run within_rows(const Run& run, int64_t first, int64_t last) {
  const int64_t begin = std::max<int64_t>(run.first_row, first);
  const int64_t end = std::min<int64_t>(run.first_row + run.rows, last);
  Run part = run;
  part.first_row = static_cast<int16_t>(begin);
  part.rows = static_cast<int16_t>(std::max<int64_t>(end - begin, 0));
  return part;
}

// Runs cut at the borders of row tiles, in the order of images, columns, row tiles, bins.
void cut_at_row_tiles(const std::vector<ImageRuns>& images, int64_t height, int64_t width,
                      std::vector<int32_t>* offsets, std::vector<Run>* runs) {
  for (const ImageRuns& image : images)
    for (int64_t w = 0; w < width; ++w)
      for (int64_t row = 0; row < height; row += kRowTile) {
        offsets->push_back(static_cast<int32_t>(runs->size()));
        for (int32_t r = image.column_offsets[w]; r < image.column_offsets[w + 1]; ++r) {
          const Run part = within_rows(image.runs[r], row, row + kRowTile);
          if (part.rows > 0) runs->push_back(part);
        }
      }
  offsets->push_back(static_cast<int32_t>(runs->size()));
}

Tensor tensor_of(const std::vector<int32_t>& values, const Tensor& like) {
  Tensor tensor = at::empty({static_cast<int64_t>(values.size())}, like.options());
  std::copy(values.begin(), values.end(), tensor.data_ptr<int32_t>());
  return tensor;
}

Tensor tensor_of(const std::vector<Run>& runs, const Tensor& like) {
  Tensor tensor = at::empty({static_cast<int64_t>(runs.size()), 4}, like.options());
  std::copy(runs.begin(), runs.end(), reinterpret_cast<Run*>(tensor.data_ptr<int32_t>()));
  return tensor;
}

}  // namespace

Plan gpu_plan(const std::vector<ImageRuns>& images, const Tensor& cells, int64_t grid) {
  const int64_t items = cells.size(0), width = cells.size(4);
  std::vector<int32_t> column_offsets;
  std::vector<Run> runs;
  cut_at_row_tiles(images, cells.size(3), width, &column_offsets, &runs);

  // A counting sort by cell: in `offsets`, how many runs each cell has, then where they begin.
  std::vector<int32_t> offsets(items * grid + 1, 0);
  const auto cell_of = [&](const Run& run) {
    return run.column / width / cells.size(1) * grid + run.cell;
  };
  for (const Run& run : runs) ++offsets[cell_of(run) + 1];
  for (int64_t cell = 0; cell < items * grid; ++cell) offsets[cell + 1] += offsets[cell];
  std::vector<int32_t> next(offsets.begin(), offsets.end() - 1);
  std::vector<Run> by_cell(runs.size());
  for (Run& run : runs) {
    const int32_t place = next[cell_of(run)]++;
    by_cell[place] = run;
    run.cell = place;
  }
  return {tensor_of(offsets, cells), tensor_of(by_cell, cells), tensor_of(column_offsets, cells),
          tensor_of(runs, cells)};
}

}  // namespace bevpool
