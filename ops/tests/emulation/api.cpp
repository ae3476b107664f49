// The CUDA kernels behind a C interface, for tests/test_cuda_emulation.py. It puts the launches
// together the way csrc/cuda/bev_pool_cuda.cpp does.
#include <algorithm>
#include <numeric>
#include <vector>

#include "../../csrc/cuda/bev_pool.cu"
#include "../../csrc/cuda/cells.cu"

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

// runs and run_offsets may be null: then the points are sorted here.
void emulate_forward(int dtype_id, const Sizes* s, const void* depth, const void* context,
                     const int32_t* cells, const int32_t* run_offsets, const Run* runs,
                     void* bev) {
  const CudaDtype dtype = static_cast<CudaDtype>(dtype_id);
  const int64_t images = s->items * s->cameras, pixels = s->height * s->width;
  const int64_t points = images * s->bins * pixels;
  const Rows rows(dtype, context, images, pixels, s->channels);
  std::vector<int32_t> offsets(s->items * s->grid + 1, -7);
  std::vector<int64_t> order(points);
  if (runs == nullptr) {
    std::vector<int32_t> keys(points), sorted(points);
    launch_cell_keys(cells, s->items, points / s->items, s->grid, keys.data(), nullptr);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t a, int64_t b) { return keys[a] < keys[b]; });
    for (int64_t i = 0; i < points; ++i) sorted[i] = keys[order[i]];
    launch_offsets(sorted.data(), points, s->items * s->grid, offsets.data(), nullptr);
    run_offsets = offsets.data();
  }
  launch_forward(dtype,
                 {depth, s->bins * pixels, {rows.memory.data(), pixels * rows.padded, rows.padded},
                  run_offsets, runs, order.data(), s->items, s->bins, s->height, s->width,
                  s->channels, rows.padded, s->grid, bev},
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
