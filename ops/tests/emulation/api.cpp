// The CUDA kernels behind a C interface, for tests/test_cuda_emulation.py. It puts the launches
// together the way csrc/cuda/bev_pool_cuda.cpp does.
#include <algorithm>
#include <cstring>
#include <numeric>
#include <vector>

#include "../../csrc/cuda/backward.cu"
#include "../../csrc/cuda/cells.cu"
#include "../../csrc/cuda/columns.cu"
#include "../../csrc/cuda/pool_cells.cu"
#include "../../csrc/cuda/rows.cu"

namespace {

using namespace bevpool;

size_t size_of(CudaDtype dtype) {
  return dtype == CudaDtype::kDouble ? 8 : dtype == CudaDtype::kFloat ? 4 : 2;
}

struct Rows {  // 16-byte aligned, as the allocator of a GPU gives it
  Rows(CudaDtype dtype, const void* source, int64_t images, int64_t rows, int64_t channels)
      : padded((channels + channels_per_vector(dtype) - 1) / channels_per_vector(dtype) *
               channels_per_vector(dtype)),
        memory(images * rows * padded * size_of(dtype) / 16 + 1) {
    launch_rows(dtype,
                {source, images, rows, channels, padded, channels * rows, rows, memory.data()},
                nullptr);
  }
  struct alignas(16) Chunk {
    unsigned char bytes[16];
  };
  int64_t padded;
  std::vector<Chunk> memory;
};

struct Sizes {
  int64_t items, cameras, bins, channels, height, width, grid;
};

}  // namespace

extern "C" {

void emulate_planned_forward(int dtype_id, const Sizes* s, const void* depth, const void* context,
                             const int32_t* offsets, const Run* runs, int64_t run_count,
                             const int32_t* column_offsets, void* bev) {
  const CudaDtype dtype = static_cast<CudaDtype>(dtype_id);
  const int64_t images = s->items * s->cameras, pixels = s->height * s->width;
  const Rows rows(dtype, context, images, pixels, s->channels);
  // Sums that no run writes stay NaN.
  const int64_t sum_size = dtype == CudaDtype::kDouble ? 8 : 4;
  std::vector<Rows::Chunk> sums(run_count * rows.padded * sum_size / 16 + 1);
  std::memset(sums.data(), 0xff, sums.size() * sizeof(Rows::Chunk));
  launch_columns(dtype,
                 {depth, s->bins * pixels, {rows.memory.data(), pixels * rows.padded, rows.padded},
                  column_offsets, runs, images, s->bins, s->height, s->width, rows.padded,
                  sums.data()},
                 nullptr);
  launch_pool_run_sums(dtype, {offsets, s->items, s->channels, rows.padded, s->grid, bev},
                       sums.data(), nullptr);
}

void emulate_forward(int dtype_id, const Sizes* s, const void* depth, const void* context,
                     const int32_t* cells, void* bev) {
  const CudaDtype dtype = static_cast<CudaDtype>(dtype_id);
  const int64_t images = s->items * s->cameras, pixels = s->height * s->width;
  const int64_t points = images * s->bins * pixels;
  const Rows rows(dtype, context, images, pixels, s->channels);
  std::vector<int32_t> offsets(s->items * s->grid + 1, -7), keys(points), sorted(points);
  std::vector<int64_t> order(points);
  launch_cell_keys(cells, s->items, points / s->items, s->grid, keys.data(), nullptr);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return keys[a] < keys[b]; });
  for (int64_t i = 0; i < points; ++i) sorted[i] = keys[order[i]];
  launch_offsets(sorted.data(), points, s->items * s->grid, offsets.data(), nullptr);
  launch_pool_points(dtype, {offsets.data(), s->items, s->channels, rows.padded, s->grid, bev},
                     {depth, s->bins * pixels,
                      {rows.memory.data(), pixels * rows.padded, rows.padded},
                      order.data(), s->bins, s->height, s->width},
                     nullptr);
}

void emulate_backward(int dtype_id, const Sizes* s, const void* grad, const void* depth,
                      const void* context, const int32_t* cells, void* depth_grad,
                      void* context_grad) {
  const CudaDtype dtype = static_cast<CudaDtype>(dtype_id);
  const int64_t images = s->items * s->cameras, pixels = s->height * s->width;
  const Rows rows(dtype, context, images, pixels, s->channels);
  const Rows grads(dtype, grad, s->items, s->grid, s->channels);
  launch_backward(dtype,
                  {depth, s->bins * pixels, {rows.memory.data(), pixels * rows.padded, rows.padded},
                   grads.memory.data(), cells, images, s->cameras, s->bins, s->height, s->width,
                   s->channels, rows.padded, s->grid, depth_grad, context_grad},
                  nullptr);
}

void emulate_frustum(const Sizes* s, const double* ego_T_cam, const double* intrinsics,
                     const double* image_aug, const double* bev_aug, const float* u,
                     const float* v, const float* depths, const double* lower,
                     const double* cell_size, const int32_t* grid_size, int truncate,
                     int32_t* cells) {
  Grid grid{};
  for (int i = 0; i < 3; ++i) {
    grid.lower[i] = lower[i];
    grid.cell_size[i] = cell_size[i];
    grid.size[i] = grid_size[i];
  }
  grid.truncate = truncate != 0;
  launch_frustum({ego_T_cam, intrinsics, image_aug, bev_aug, u, v, depths, s->items * s->cameras,
                  s->cameras, s->bins, s->height, s->width, grid, cells},
                 nullptr);
}

}  // extern "C"
