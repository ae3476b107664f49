// Pooling on the CPU: lays the inputs out, shares tiles and columns among the threads.
#include "pool.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "../checks.h"
#include "plan.h"
#include "share.h"

namespace bevpool {
namespace {

// A tile with more runs than this is summed in parts, so that one crowded cell does not leave the
// other threads waiting. The parts depend on the runs alone: any number of threads adds up alike.
constexpr int64_t kPartRuns = 4096, kMostParts = 64;

Dtype dtype_of(const Tensor& t) {
  switch (t.scalar_type()) {
    case at::kFloat: return Dtype::kFloat;
    case at::kDouble: return Dtype::kDouble;
    case at::kBFloat16: return Dtype::kBFloat16;
    default: return Dtype::kHalf;
  }
}

at::TensorOptions sum_options(const Tensor& t) {
  return t.options().dtype(t.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
}

int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

int64_t padded(int64_t channels) { return round_up(channels, kChannelMultiple); }

// [items, width, height, padded channels] in the summing type; see PackArgs.
Tensor packed_features(const Tensor& source, int64_t items, int64_t height, int64_t width,
                       int64_t channels, int64_t item_stride, int64_t channel_stride,
                       int64_t place_stride) {
  Tensor packed = at::empty({items, width, height, padded(channels)}, sum_options(source));
  const PackArgs args{dtype_of(source),  source.const_data_ptr(), height,       width, channels,
                      padded(channels),  item_stride,             channel_stride,
                      place_stride,      packed.data_ptr()};
  const int64_t blocks = width > 1 ? height : (height + kPackRows - 1) / kPackRows;
  share(items * blocks, 8, [&](int64_t first, int64_t last) {
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

// [images, W, planes, packed height] in the summing type; see PackColumnsArgs.
Tensor packed_columns(const Tensor& source, int64_t image_stride, int64_t plane_stride,
                      int64_t packed_height) {
  const int64_t images = source.size(0) * source.size(1), planes = source.size(2);
  Tensor packed = at::empty({images * source.size(4) * planes * packed_height + kDepthPadding},
                            sum_options(source));
  const PackColumnsArgs args{dtype_of(source), source.const_data_ptr(), image_stride,
                             plane_stride,     planes,                  source.size(3),
                             source.size(4),   packed_height,           packed.data_ptr()};
  share(images * planes, 32, [&](int64_t first, int64_t last) {
    kernels_for_this_cpu().pack_columns(args, first, last);
  });
  return packed;
}

Tensor packed_depth(const Tensor& depth) {
  const DepthLayout layout(depth);
  return packed_columns(layout.tensor, layout.image_stride, depth.size(3) * depth.size(4),
                        depth.size(3));
}

Tensor packed_context_columns(const Tensor& context, int64_t packed_height) {
  ContextLayout layout(context);
  if (layout.pixel_stride != 1) layout = ContextLayout(context.contiguous());
  return packed_columns(layout.tensor, layout.image_stride, layout.channel_stride, packed_height);
}

Tensor unpacked_columns(const Tensor& packed, const Tensor& like, int64_t packed_height) {
  Tensor target = at::empty(like.sizes(), like.options());
  const UnpackColumnsArgs args{dtype_of(like), packed.const_data_ptr(), like.size(2), like.size(3),
                               like.size(4),   packed_height,           target.data_ptr()};
  share(like.size(0) * like.size(1) * like.size(2), 32, [&](int64_t first, int64_t last) {
    kernels_for_this_cpu().unpack_columns(args, first, last);
  });
  return target;
}

Tensor tile_sums(int64_t parts, const ForwardArgs& args, const Tensor& depth) {
  return at::empty({parts, kTileCells, args.padded_channels}, sum_options(depth));
}

void pool_crowded_tile(const ForwardArgs& args, int64_t tile, int64_t first_run, int64_t last_run,
                       const Tensor& depth) {
  const int64_t count = last_run - first_run;
  const int64_t size = std::max(kPartRuns, (count + kMostParts - 1) / kMostParts);
  const int64_t parts = (count + size - 1) / size;
  Tensor sums = tile_sums(parts, args, depth);
  char* first_sums = static_cast<char*>(sums.data_ptr());
  share(parts, 1, [&](int64_t part, int64_t) {
    kernels_for_this_cpu().add_runs(args, first_run + part * size,
                                    std::min(first_run + (part + 1) * size, last_run),
                                    first_sums + part * sums.stride(0) * sums.element_size());
  });
  kernels_for_this_cpu().write_tile(args, tile, sums.data_ptr(), parts);
}

void pool_tiles(const ForwardArgs& args, const int32_t* offsets, int64_t tiles,
                const Tensor& depth) {
  const auto is_crowded = [&](int64_t tile) {
    return offsets[tile + 1] - offsets[tile] > kPartRuns;
  };
  Tensor sums = tile_sums(at::get_num_threads(), args, depth);
  char* first_sums = static_cast<char*>(sums.data_ptr());
  share(tiles, 1, [&](int64_t tile, int64_t) {
    if (is_crowded(tile)) return;
    void* my_sums = first_sums + at::get_thread_num() * sums.stride(0) * sums.element_size();
    kernels_for_this_cpu().add_runs(args, offsets[tile], offsets[tile + 1], my_sums);
    kernels_for_this_cpu().write_tile(args, tile, my_sums, 1);
  });
  for (int64_t tile = 0; tile < tiles; ++tile)
    if (is_crowded(tile))
      pool_crowded_tile(args, tile, offsets[tile], offsets[tile + 1], depth);
}

}  // namespace

Tensor bev_pool_cpu(const Tensor& depth, const Tensor& context, const Tensor& cells,
                    const std::optional<Tensor>& offsets, const std::optional<Tensor>& runs,
                    const std::optional<Tensor>& column_offsets,
                    const std::optional<Tensor>& column_runs, int64_t bev_y, int64_t bev_x) {
  check_pool(depth, context, cells, bev_y, bev_x);
  const int64_t items = cells.size(0), tiles = items * tiles_of(bev_y, bev_x);
  RunList list;
  if (offsets.has_value() && runs.has_value()) {
    check_runs(*offsets, *runs, tiles, cells, "offsets", "runs");
    list = {offsets->contiguous(), runs->contiguous()};
  } else {
    const Tensor dense = cells.contiguous();
    list = runs_by_tile(find_runs(dense, bev_y * bev_x), dense, bev_y, bev_x);
  }
  Tensor bev = at::empty({items, context.size(2), bev_y, bev_x}, depth.options());
  if (bev.numel() == 0) return bev;
  const Tensor context_rows = packed_context(context), depth_columns = packed_depth(depth);
  const ForwardArgs args{dtype_of(depth),
                         depth_columns.const_data_ptr(),
                         context_rows.const_data_ptr(),
                         list.run(),
                         cells.size(2),
                         cells.size(3),
                         context.size(2),
                         padded(context.size(2)),
                         bev_y,
                         bev_x,
                         bev.data_ptr()};
  pool_tiles(args, list.offset(), tiles, depth);
  return bev;
}

std::tuple<Tensor, Tensor> bev_pool_backward_cpu(const Tensor& grad_in, const Tensor& depth,
                                                 const Tensor& context, const Tensor& cells,
                                                 const std::optional<Tensor>& column_offsets,
                                                 const std::optional<Tensor>& column_runs_in) {
  check_grad(grad_in, context);
  check_pool(depth, context, cells, grad_in.size(2), grad_in.size(3));
  const Tensor grad = grad_in.contiguous();
  const int64_t items = cells.size(0), cameras = cells.size(1), width = cells.size(4);
  const int64_t channels = context.size(2), grid = grad.size(2) * grad.size(3);
  const int64_t columns = items * cameras * width;
  if (cells.numel() == 0 || context.numel() == 0)
    return {at::zeros(cells.sizes(), depth.options()),
            at::zeros(context.sizes(), context.options())};
  RunList list;
  if (column_offsets.has_value() && column_runs_in.has_value()) {
    check_runs(*column_offsets, *column_runs_in, columns, cells, "column_offsets", "column_runs");
    list = {column_offsets->contiguous(), column_runs_in->contiguous()};
  } else {
    const Tensor dense = cells.contiguous();
    list = column_runs(find_runs(dense, grid), dense);
  }
  const int64_t packed_height = round_up(cells.size(3), kRowMultiple);
  const Tensor depth_columns = packed_depth(depth);
  const Tensor context_columns = packed_context_columns(context, packed_height);
  const Tensor grad_rows =
      packed_features(grad, items, grid, 1, channels, channels * grid, grid, 1);
  Tensor depth_grad = at::empty(depth_columns.sizes(), depth_columns.options());
  Tensor context_grad = at::empty(context_columns.sizes(), context_columns.options());
  const BackwardArgs args{dtype_of(depth),
                          depth_columns.const_data_ptr(),
                          context_columns.const_data_ptr(),
                          grad_rows.const_data_ptr(),
                          list.offset(),
                          list.run(),
                          cameras * width,
                          cells.size(2),
                          cells.size(3),
                          packed_height,
                          channels,
                          padded(channels),
                          grid,
                          depth_grad.data_ptr(),
                          context_grad.data_ptr()};
  share(columns, 4, [&](int64_t first, int64_t last) {
    kernels_for_this_cpu().backward(args, first, last);
  });
  return {unpacked_columns(depth_grad, depth, cells.size(3)),
          unpacked_columns(context_grad, context, packed_height)};
}

}  // namespace bevpool
