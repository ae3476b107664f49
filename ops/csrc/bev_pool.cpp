// The operators: schema and CPU implementation. Shapes are checked here for callers that come
// without the Python wrapper; the kernels then trust them.
#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "checks.h"
#include "cpu/kernels.h"

namespace bevpool {
namespace {

using at::Tensor;

Dtype dtype_of(const Tensor& t) {
  switch (t.scalar_type()) {
    case at::kFloat: return Dtype::kFloat;
    case at::kDouble: return Dtype::kDouble;
    case at::kBFloat16: return Dtype::kBFloat16;
    default: return Dtype::kHalf;
  }
}

at::ScalarType sum_type(const Tensor& t) {
  return t.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

int64_t padded(int64_t channels) {
  return (channels + kChannelMultiple - 1) / kChannelMultiple * kChannelMultiple;
}

// [items, width, height, padded channels] in the summing type; see PackArgs.
Tensor packed_features(const Tensor& source, int64_t items, int64_t height, int64_t width,
                       int64_t channels, int64_t item_stride, int64_t channel_stride,
                       int64_t place_stride) {
  Tensor packed = at::empty({items, width, height, padded(channels)},
                            source.options().dtype(sum_type(source)));
  const PackArgs args{dtype_of(source),  source.const_data_ptr(), height,       width, channels,
                      padded(channels),  item_stride,             channel_stride,
                      place_stride,      packed.data_ptr()};
  const int64_t blocks = width > 1 ? height : (height + kPackRows - 1) / kPackRows;
  at::parallel_for(0, items * blocks, 8, [&](int64_t first, int64_t last) {
    kernels_for_this_cpu().pack(args, first, last);
  });
  return packed;
}

Tensor packed_context(const Tensor& context) {
  const ContextLayout layout(context);
  return packed_features(layout.tensor, context.size(0) * context.size(1), context.size(3),
                         context.size(4), context.size(2), layout.image_stride,
                         layout.channel_stride, layout.pixel_stride);
}

Tensor packed_depth(const Tensor& depth) {
  const DepthLayout layout(depth);
  Tensor packed = at::empty({depth.numel() + kDepthPadding},
                            depth.options().dtype(sum_type(depth)));
  const PackDepthArgs args{dtype_of(depth),  layout.tensor.const_data_ptr(), layout.image_stride,
                           depth.size(2),    depth.size(3),                  depth.size(4),
                           packed.data_ptr()};
  const int64_t planes = depth.size(0) * depth.size(1) * depth.size(2);
  at::parallel_for(0, planes, 32, [&](int64_t first, int64_t last) {
    kernels_for_this_cpu().pack_depth(args, first, last);
  });
  return packed;
}

std::vector<CellRun> runs_of_image(const int32_t* cells, int64_t bins, int64_t height,
                                   int64_t width, int64_t grid, int64_t image) {
  const int64_t pixels = height * width;
  std::vector<int32_t> starts(bins * pixels), row_buffer(2 * pixels);
  kernels_for_this_cpu().run_starts(
      {cells, bins, height, width, grid, starts.data(), row_buffer.data()});
  std::vector<CellRun> runs;
  const int32_t* start = starts.data();
  for (int64_t d = 0; d < bins; ++d)
    for (int64_t h = 0; h < height; ++h)
      for (int64_t w = 0; w < width; ++w, ++start, ++cells) {
        if (*start == 0) continue;
        runs.push_back({*cells,
                        {static_cast<int32_t>(image * width + w), static_cast<int16_t>(d),
                         static_cast<int16_t>(*start >> 16), static_cast<int16_t>(h),
                         static_cast<int16_t>(*start & 0xffff)}});
      }
  return runs;
}

// The runs of every image, found in parallel.
std::vector<std::vector<CellRun>> runs_of_images(const Tensor& cells, int64_t grid) {
  const int64_t bins = cells.size(2), height = cells.size(3), width = cells.size(4);
  std::vector<std::vector<CellRun>> found(cells.size(0) * cells.size(1));
  const int32_t* data = cells.const_data_ptr<int32_t>();
  at::parallel_for(0, static_cast<int64_t>(found.size()), 1, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i)
      found[i] = runs_of_image(data + i * bins * height * width, bins, height, width, grid, i);
  });
  return found;
}

// Sorts the runs of each cell behind each other (a stable counting sort), one batch item a task.
std::tuple<Tensor, Tensor> bev_pool_plan(const Tensor& cells_in, int64_t bev_y, int64_t bev_x) {
  check_cells(cells_in, bev_y, bev_x);
  const Tensor cells = cells_in.contiguous();
  const int64_t items = cells.size(0), cameras = cells.size(1), grid = bev_y * bev_x;
  const std::vector<std::vector<CellRun>> found = runs_of_images(cells, grid);
  std::vector<int64_t> first_run(items + 1, 0);
  for (int64_t b = 0; b < items; ++b) {
    first_run[b + 1] = first_run[b];
    for (int64_t n = 0; n < cameras; ++n) first_run[b + 1] += found[b * cameras + n].size();
  }
  Tensor offsets = at::empty({items * grid + 1}, cells.options());
  Tensor runs = at::empty({first_run[items], 3}, cells.options());
  int32_t* offset = offsets.data_ptr<int32_t>();
  Run* sorted = reinterpret_cast<Run*>(runs.data_ptr<int32_t>());
  at::parallel_for(0, items, 1, [&](int64_t first, int64_t last) {
    std::vector<int32_t> next(grid);
    for (int64_t b = first; b < last; ++b) {
      std::fill(next.begin(), next.end(), 0);
      for (int64_t n = 0; n < cameras; ++n)
        for (const CellRun& r : found[b * cameras + n]) ++next[r.cell];
      int32_t total = static_cast<int32_t>(first_run[b]);
      for (int64_t c = 0; c < grid; ++c) {
        offset[b * grid + c] = total;
        total += next[c];
        next[c] = offset[b * grid + c];
      }
      for (int64_t n = 0; n < cameras; ++n)
        for (const CellRun& r : found[b * cameras + n]) sorted[next[r.cell]++] = r.run;
    }
  });
  offset[items * grid] = static_cast<int32_t>(first_run[items]);
  return {offsets, runs};
}

// The tile where work item `part` of `parts` begins, so that all carry about as many runs.
int64_t first_tile_of(const int32_t* offsets, int64_t items, int64_t grid, int64_t part,
                      int64_t parts) {
  const int64_t tiles = (grid + kTileCells - 1) / kTileCells;
  const auto work_before = [&](int64_t tile) {
    const int64_t cell = std::min(tile % tiles * kTileCells, grid) + tile / tiles * grid;
    return offsets[cell] + 4 * tile;  // a tile without runs costs about as much as four
  };
  const int64_t wanted = work_before(items * tiles) / parts * part;
  int64_t low = 0, high = items * tiles;
  if (part == parts) return high;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (work_before(middle) < wanted)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

Tensor bev_pool_cpu(const Tensor& depth_in, const Tensor& context, const Tensor& cells,
                    const std::optional<Tensor>& planned_offsets,
                    const std::optional<Tensor>& planned_runs, int64_t bev_y, int64_t bev_x) {
  check_pool(depth_in, context, cells, bev_y, bev_x);
  Tensor offsets, runs;
  if (planned_offsets.has_value() && planned_runs.has_value()) {
    check_plan(*planned_offsets, *planned_runs, cells, bev_y, bev_x);
    offsets = planned_offsets->contiguous();
    runs = planned_runs->contiguous();
  } else {
    std::tie(offsets, runs) = bev_pool_plan(cells, bev_y, bev_x);
  }
  const int64_t items = cells.size(0), channels = context.size(2), grid = bev_y * bev_x;
  Tensor bev = at::empty({items, channels, bev_y, bev_x}, depth_in.options());
  if (bev.numel() == 0) return bev;
  const Tensor context_rows = packed_context(context), depth_columns = packed_depth(depth_in);
  const int32_t* offset = offsets.const_data_ptr<int32_t>();
  const ForwardArgs args{dtype_of(depth_in),
                         depth_columns.const_data_ptr(),
                         context_rows.const_data_ptr(),
                         offset,
                         reinterpret_cast<const Run*>(runs.const_data_ptr<int32_t>()),
                         cells.size(2),
                         cells.size(3),
                         channels,
                         padded(channels),
                         grid,
                         bev.data_ptr()};
  const int64_t parts = 256;
  at::parallel_for(0, parts, 1, [&](int64_t first, int64_t last) {
    kernels_for_this_cpu().forward(args, first_tile_of(offset, items, grid, first, parts),
                                   first_tile_of(offset, items, grid, last, parts));
  });
  return bev;
}

// The runs of each column behind each other, and where each column's begin.
struct ColumnRuns {
  ColumnRuns(const Tensor& cells, int64_t grid) {
    const std::vector<std::vector<CellRun>> found = runs_of_images(cells, grid);
    const int64_t images = static_cast<int64_t>(found.size()), width = cells.size(4);
    offsets.assign(images * width + 1, 0);
    for (const auto& image_runs : found)
      for (const CellRun& r : image_runs) ++offsets[r.run.column + 1];
    for (size_t i = 1; i < offsets.size(); ++i) offsets[i] += offsets[i - 1];
    runs.resize(offsets.back());
    at::parallel_for(0, images, 1, [&](int64_t first, int64_t last) {
      for (int64_t image = first; image < last; ++image) {
        std::vector<int32_t> next(&offsets[image * width], &offsets[(image + 1) * width]);
        for (const CellRun& r : found[image]) runs[next[r.run.column - image * width]++] = r;
      }
    });
  }
  std::vector<int32_t> offsets;
  std::vector<CellRun> runs;
};

std::tuple<Tensor, Tensor> bev_pool_backward_cpu(const Tensor& grad_in, const Tensor& depth,
                                                 const Tensor& context, const Tensor& cells_in) {
  check_grad(grad_in, context);
  check_pool(depth, context, cells_in, grad_in.size(2), grad_in.size(3));
  const Tensor cells = cells_in.contiguous(), grad = grad_in.contiguous();
  const int64_t items = cells.size(0), cameras = cells.size(1), width = cells.size(4);
  const int64_t channels = context.size(2), grid = grad.size(2) * grad.size(3);
  Tensor depth_grad = at::empty(cells.sizes(), depth.options());
  Tensor context_grad = at::empty(context.sizes(), context.options());
  if (cells.numel() == 0 || context.numel() == 0) return {depth_grad.zero_(), context_grad.zero_()};
  const DepthLayout depth_layout(depth);
  const ContextLayout layout(context);
  const Tensor grad_rows =
      packed_features(grad, items, grid, 1, channels, channels * grid, grid, 1);
  const ColumnRuns columns(cells, grid);
  const BackwardArgs args{dtype_of(depth),
                          depth_layout.tensor.const_data_ptr(),
                          depth_layout.image_stride,
                          layout.tensor.const_data_ptr(),
                          layout.image_stride,
                          layout.channel_stride,
                          layout.pixel_stride,
                          grad_rows.const_data_ptr(),
                          columns.offsets.data(),
                          columns.runs.data(),
                          cameras,
                          cells.size(2),
                          cells.size(3),
                          width,
                          channels,
                          padded(channels),
                          grid,
                          depth_grad.data_ptr(),
                          context_grad.data_ptr()};
  const int64_t blocks = items * cameras * ((width + kColumnBlock - 1) / kColumnBlock);
  at::parallel_for(0, blocks, 1, [&](int64_t first, int64_t last) {
    kernels_for_this_cpu().backward(args, first, last);
  });
  return {depth_grad, context_grad};
}

Tensor frustum_cells_cpu(const Tensor& ego_T_cam, const Tensor& intrinsics,
                         const Tensor& image_aug, const Tensor& bev_aug, const Tensor& u,
                         const Tensor& v, const Tensor& depths, at::ArrayRef<double> lower,
                         at::ArrayRef<double> cell_size, at::IntArrayRef grid_size,
                         bool truncate) {
  const FrustumInputs in(ego_T_cam, intrinsics, image_aug, bev_aug, u, v, depths);
  Tensor cells = at::empty(in.cells_shape(), u.options().dtype(at::kInt));
  const FrustumArgs args{in.ego_T_cam.const_data_ptr<double>(),
                         in.intrinsics.const_data_ptr<double>(),
                         in.image_aug.const_data_ptr<double>(),
                         in.bev_aug.const_data_ptr<double>(),
                         in.u.const_data_ptr<float>(),
                         in.v.const_data_ptr<float>(),
                         in.depths.const_data_ptr<float>(),
                         cells.size(1),
                         cells.size(2),
                         cells.size(3),
                         cells.size(4),
                         grid_from(lower, cell_size, grid_size, truncate),
                         cells.data_ptr<int32_t>()};
  const int64_t planes = cells.size(0) * cells.size(1) * cells.size(2);
  at::parallel_for(0, planes, 8, [&](int64_t first, int64_t last) {
    kernels_for_this_cpu().frustum(args, first, last);
  });
  return cells;
}

std::string cpu_instruction_set() { return kernels_for_this_cpu().instruction_set; }

// Under autocast both features take the autocast dtype; the sums stay in float32.
template <c10::DispatchKey key, c10::DeviceType device>
Tensor bev_pool_autocast(const Tensor& depth, const Tensor& context, const Tensor& cells,
                         const std::optional<Tensor>& offsets, const std::optional<Tensor>& runs,
                         int64_t bev_y, int64_t bev_x) {
  c10::impl::ExcludeDispatchKeyGuard no_autocast(key);
  const auto dtype = at::autocast::get_autocast_dtype(device);
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("bevdepth_plus_ops::bev_pool", "")
                             .typed<decltype(bev_pool_cpu)>();
  return op.call(at::autocast::cached_cast(dtype, depth, device),
                 at::autocast::cached_cast(dtype, context, device), cells, offsets, runs, bev_y,
                 bev_x);
}

}  // namespace

TORCH_LIBRARY(bevdepth_plus_ops, m) {
  m.def(
      "bev_pool(Tensor depth, Tensor context, Tensor cells, Tensor? offsets, Tensor? runs, "
      "int bev_y, int bev_x) -> Tensor");
  m.def(
      "bev_pool_backward(Tensor grad, Tensor depth, Tensor context, Tensor cells) "
      "-> (Tensor, Tensor)");
  m.def("bev_pool_plan(Tensor cells, int bev_y, int bev_x) -> (Tensor, Tensor)");
  m.def(
      "frustum_cells(Tensor ego_T_cam, Tensor intrinsics, Tensor image_aug, Tensor bev_aug, "
      "Tensor u, Tensor v, Tensor depths, float[] lower, float[] cell_size, int[] grid_size, "
      "bool truncate) -> Tensor");
  m.def("cpu_instruction_set() -> str", cpu_instruction_set);
}

TORCH_LIBRARY_IMPL(bevdepth_plus_ops, CPU, m) {
  m.impl("bev_pool", bev_pool_cpu);
  m.impl("bev_pool_backward", bev_pool_backward_cpu);
  m.impl("bev_pool_plan", bev_pool_plan);
  m.impl("frustum_cells", frustum_cells_cpu);
}

TORCH_LIBRARY_IMPL(bevdepth_plus_ops, AutocastCPU, m) {
  m.impl("bev_pool", bev_pool_autocast<c10::DispatchKey::AutocastCPU, c10::kCPU>);
}

TORCH_LIBRARY_IMPL(bevdepth_plus_ops, AutocastCUDA, m) {
  m.impl("bev_pool", bev_pool_autocast<c10::DispatchKey::AutocastCUDA, c10::kCUDA>);
}

}  // namespace bevpool
