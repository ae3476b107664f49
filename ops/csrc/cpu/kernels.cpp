// The pooling kernels, compiled once per instruction set with -DBEVPOOL_ISA=<name>.
#include "kernels.h"

#include <cstdlib>

#include "vec.h"

namespace bevpool {

void BEVPOOL_NAMED(frustum)(const FrustumArgs& a, int64_t first_plane, int64_t last_plane);
extern const Kernels BEVPOOL_NAMED(kernels);

namespace {

template <typename T>
class Workspace {  // a cache-line aligned array, freed at the end of the scope
 public:
  explicit Workspace(int64_t size)
      : data_(static_cast<T*>(std::aligned_alloc(64, (size * sizeof(T) + 63) / 64 * 64))) {
    if (data_ == nullptr) std::abort();  // a few hundred kB: the process is out of memory
  }
  ~Workspace() { std::free(data_); }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  T* get() { return data_; }

 private:
  T* data_;
};

// Calls f<Vectors> for consecutive blocks of whole vectors that together make `channels`: at most
// six, so that a block's sums stay in registers also where there are only sixteen of them.
template <typename T, typename F>
BEVPOOL_INLINE void for_channel_blocks(int64_t channels, F&& f) {
  constexpr int64_t lanes = VectorOf<T>::lanes;
  int64_t channel = 0;
  int64_t vectors = channels / lanes;
  while (vectors > 0) {
    const int64_t block = vectors <= 6 ? vectors : 4;
    switch (block) {
      case 1: f.template operator()<1>(channel); break;
      case 2: f.template operator()<2>(channel); break;
      case 3: f.template operator()<3>(channel); break;
      case 4: f.template operator()<4>(channel); break;
      case 5: f.template operator()<5>(channel); break;
      default: f.template operator()<6>(channel); break;
    }
    channel += block * lanes;
    vectors -= block;
  }
}

// ---- packing ---------------------------------------------------------------------------------

template <typename S>
void pack(const PackArgs& a, int64_t first_block, int64_t last_block) {
  using T = Sum<S>;
  const int64_t blocks = (a.rows + kTileCells - 1) / kTileCells;
  for (int64_t block = first_block; block < last_block; ++block) {
    const int64_t image = block / blocks, row = block % blocks * kTileCells;
    const int64_t count = a.rows - row < kTileCells ? a.rows - row : kTileCells;
    const S* source =
        static_cast<const S*>(a.source) + image * a.image_stride + row * a.row_stride;
    T* target = static_cast<T*>(a.packed) + (image * a.rows + row) * a.padded_channels;
    if (a.row_stride == 1) {
      transpose(source, a.channel_stride, a.channels, count, target, a.padded_channels,
                a.padded_channels);
      continue;
    }
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t c = 0; c < a.padded_channels; c += VectorOf<T>::lanes) {
        const S* p = source + i * a.row_stride + c;
        const int64_t rest = a.channels - c;
        const Vec<T> v = rest >= VectorOf<T>::lanes ? load(p) : rest > 0 ? load_some(p, rest) : Vec<T>{};
        store(target + i * a.padded_channels + c, v);
      }
    }
  }
}

// ---- forward: BEV cells gather their runs -----------------------------------------------------

constexpr int kBatch = 256;  // weighted rows gathered before they are summed

template <typename T>
struct Batch {
  T weight[kBatch];
  const T* row[kBatch];
  int count = 0;
};

template <typename T>
struct AddBatch {
  const Batch<T>& batch;
  T* sum;

  template <int Vectors>
  BEVPOOL_INLINE void operator()(int64_t channel) const {
    constexpr int lanes = VectorOf<T>::lanes;
    Vec<T> total[Vectors];
#pragma GCC unroll 6
    for (int i = 0; i < Vectors; ++i) total[i] = load(sum + channel + i * lanes);
    for (int k = 0; k < batch.count; ++k) {
      const Vec<T> weight = splat(batch.weight[k]);
      const T* row = batch.row[k] + channel;
#pragma GCC unroll 6
      for (int i = 0; i < Vectors; ++i) total[i] += weight * load(row + i * lanes);
    }
#pragma GCC unroll 6
    for (int i = 0; i < Vectors; ++i) store(sum + channel + i * lanes, total[i]);
  }
};

template <typename T>
BEVPOOL_INLINE void add_batch(Batch<T>& batch, int64_t padded_channels, T* sum) {
  for_channel_blocks<T>(padded_channels, AddBatch<T>{batch, sum});
  batch.count = 0;
}

template <typename S>
BEVPOOL_INLINE void sum_cell(const ForwardArgs& a, int64_t cell, Sum<S>* sum) {
  using T = Sum<S>;
  const int64_t pixels = a.height * a.width;
  for (int64_t c = 0; c < a.padded_channels; ++c) sum[c] = T(0);
  Batch<T> batch;
  for (int32_t r = a.offsets[cell]; r < a.offsets[cell + 1]; ++r) {
    const Run run = a.runs[r];
    const int32_t image = run.pixel / static_cast<int32_t>(pixels);
    const S* depth = static_cast<const S*>(a.depth) + image * a.depth_image_stride +
                     run.first_bin * pixels + (run.pixel - image * pixels);
    const T* row = static_cast<const T*>(a.packed_context) + run.pixel * a.padded_channels;
    for (int32_t i = 0; i < run.rows; ++i) {
      T weight = T(0);
      for (int32_t d = 0; d < run.bins; ++d) weight += to_sum(depth[d * pixels]);
      batch.weight[batch.count] = weight;
      batch.row[batch.count] = row;
      if (++batch.count == kBatch) add_batch(batch, a.padded_channels, sum);
      depth += a.width;
      row += a.width * a.padded_channels;
    }
  }
  add_batch(batch, a.padded_channels, sum);
}

template <typename S>
void forward(const ForwardArgs& a, int64_t first_tile, int64_t last_tile) {
  using T = Sum<S>;
  const int64_t tiles = (a.grid + kTileCells - 1) / kTileCells;
  Workspace<T> sums(kTileCells * a.padded_channels);
  for (int64_t tile = first_tile; tile < last_tile; ++tile) {
    const int64_t item = tile / tiles, cell = tile % tiles * kTileCells;
    const int64_t count = a.grid - cell < kTileCells ? a.grid - cell : kTileCells;
    for (int64_t j = 0; j < count; ++j)
      sum_cell<S>(a, item * a.grid + cell + j, sums.get() + j * a.padded_channels);
    S* bev = static_cast<S*>(a.bev) + item * a.channels * a.grid + cell;
    transpose(sums.get(), a.padded_channels, count, a.channels, bev, a.grid, count);
  }
}

// ---- backward: pixels gather their cells ------------------------------------------------------

// One pixel's bins, merged where neighbours fall into one cell. A pixel reads a cell's gradient
// once for both of its results.
template <typename T>
struct PixelRuns {
  explicit PixelRuns(int64_t bins) : cell(bins), weight(bins), product(bins), run_of_bin(bins) {}

  Workspace<int32_t> cell;
  Workspace<T> weight;   // sum of depth over the run
  Workspace<T> product;  // context . gradient of the run's cell
  Workspace<int32_t> run_of_bin;
  int64_t count = 0;

  BEVPOOL_INLINE void find(const int32_t* cells, const T* depth, int64_t bins) {
    int32_t* run_cell = cell.get();
    T* run_weight = weight.get();
    int64_t last = -1;
    int32_t previous = 0;
    T sum = T(0);
    for (int64_t d = 0; d < bins; ++d) {
      const bool is_new = d == 0 || cells[d] != previous;
      last += is_new;
      sum = (is_new ? T(0) : sum) + depth[d];
      previous = cells[d];
      run_cell[last] = previous;
      run_weight[last] = sum;
      run_of_bin.get()[d] = static_cast<int32_t>(last);
    }
    count = last + 1;
  }
};

template <typename T>
struct AddRuns {
  PixelRuns<T>& runs;
  const T* context;
  const T* grad;  // of this batch item: [grid, padded_channels]
  int64_t grid, padded_channels;
  T* context_grad;

  template <int Vectors>
  BEVPOOL_INLINE void operator()(int64_t channel) const {
    constexpr int lanes = VectorOf<T>::lanes;
    const int32_t* run_cell = runs.cell.get();
    const T* run_weight = runs.weight.get();
    T* product = runs.product.get();
    Vec<T> feature[Vectors], total[Vectors];
#pragma GCC unroll 6
    for (int i = 0; i < Vectors; ++i) {
      feature[i] = load(context + channel + i * lanes);
      total[i] = Vec<T>{};
    }
    for (int64_t k = 0; k < runs.count; ++k) {
      const T before = channel == 0 ? T(0) : product[k];
      product[k] = before;
      if (!is_inside(run_cell[k], grid)) continue;
      const T* row = grad + run_cell[k] * padded_channels + channel;
      const Vec<T> weight = splat(run_weight[k]);
      Vec<T> dot = Vec<T>{};
#pragma GCC unroll 6
      for (int i = 0; i < Vectors; ++i) {
        const Vec<T> g = load(row + i * lanes);
        dot += feature[i] * g;
        total[i] += weight * g;
      }
      product[k] = before + sum_of_lanes<T>(dot);
    }
#pragma GCC unroll 6
    for (int i = 0; i < Vectors; ++i) store(context_grad + channel + i * lanes, total[i]);
  }
};

template <typename S>
void backward(const BackwardArgs& a, int64_t first_block, int64_t last_block) {
  using T = Sum<S>;
  const int64_t pixels = a.height * a.width, points = a.bins * pixels;
  const int64_t blocks = (a.width + kColumnBlock - 1) / kColumnBlock;
  // Staged per column so that a column's cells, a few kB of gradient, stay in the nearest cache.
  const int64_t column = a.height * a.bins, features = a.height * a.padded_channels;
  Workspace<int32_t> cells(kColumnBlock * column);
  Workspace<T> depth(kColumnBlock * column);  // becomes the depth's gradient in place
  Workspace<T> context_grad(kColumnBlock * features);
  PixelRuns<T> runs(a.bins);
  for (int64_t block = first_block; block < last_block; ++block) {
    const int64_t image = block / blocks, w0 = block % blocks * kColumnBlock;
    const int64_t count = a.width - w0 < kColumnBlock ? a.width - w0 : kColumnBlock;
    // int32 cells travel through float vectors: moves and shuffles keep every bit.
    const float* source_cells = reinterpret_cast<const float*>(a.cells) + image * points + w0;
    const S* source_depth = static_cast<const S*>(a.depth) + image * a.depth_image_stride + w0;
    for (int64_t h = 0; h < a.height; ++h) {
      transpose(source_cells + h * a.width, pixels, a.bins, count,
                reinterpret_cast<float*>(cells.get()) + h * a.bins, column, a.bins);
      transpose(source_depth + h * a.width, pixels, a.bins, count, depth.get() + h * a.bins,
                column, a.bins);
    }
    const T* grad = static_cast<const T*>(a.packed_grad) +
                    image / a.cameras * a.grid * a.padded_channels;
    const T* context = static_cast<const T*>(a.packed_context) +
                       (image * pixels + w0) * a.padded_channels;
    for (int64_t w = 0; w < count; ++w) {
      for (int64_t h = 0; h < a.height; ++h) {
        const int64_t pixel = w * a.height + h;
        T* pixel_depth = depth.get() + pixel * a.bins;
        runs.find(cells.get() + pixel * a.bins, pixel_depth, a.bins);
        for_channel_blocks<T>(
            a.padded_channels,
            AddRuns<T>{runs, context + (h * a.width + w) * a.padded_channels, grad, a.grid,
                       a.padded_channels, context_grad.get() + pixel * a.padded_channels});
        for (int64_t d = 0; d < a.bins; ++d)
          pixel_depth[d] = runs.product.get()[runs.run_of_bin.get()[d]];
      }
    }
    S* depth_grad = static_cast<S*>(a.depth_grad) + image * points + w0;
    S* target = static_cast<S*>(a.context_grad) + image * a.channels * pixels + w0;
    for (int64_t h = 0; h < a.height; ++h) {
      transpose(depth.get() + h * a.bins, column, count, a.bins, depth_grad + h * a.width, pixels,
                count);
      transpose(context_grad.get() + h * a.padded_channels, features, count, a.channels,
                target + h * a.width, pixels, count);
    }
  }
}

// ---- plan: where runs start -------------------------------------------------------------------

// lengths[h, w] = rows of the vertical run of one cell that starts at (h, w), else 0.
void vertical_runs(const int32_t* cells, int64_t height, int64_t width, int64_t grid,
                   int32_t* lengths) {
  const int32_t limit = grid < 0x7fffffff ? static_cast<int32_t>(grid) : 0x7fffffff;
  for (int64_t h = height - 1; h >= 0; --h) {
    const int32_t* here = cells + h * width;
    const int32_t* below = here + (h + 1 < height ? width : 0);
    int32_t* length = lengths + h * width;
    int32_t* length_below = length + (h + 1 < height ? width : 0);
    const bool has_below = h + 1 < height;
    for (int64_t w = 0; w < width; ++w) {
      const bool inside = (here[w] >= 0) & (here[w] < limit);
      const bool same = has_below & inside & (here[w] == below[w]);
      const int32_t rest = same ? length_below[w] : 0;
      if (has_below) length_below[w] = same ? 0 : length_below[w];
      length[w] = inside ? rest + 1 : 0;
    }
  }
}

void run_starts(const RunStartArgs& a) {
  const int64_t pixels = a.height * a.width;
  int32_t* lengths = a.row_buffer;
  int32_t* lengths_after = a.row_buffer + pixels;  // of bin d + 1
  for (int64_t d = a.bins - 1; d >= 0; --d) {
    const int32_t* cells = a.cells + d * pixels;
    int32_t* starts = a.starts + d * pixels;
    vertical_runs(cells, a.height, a.width, a.grid, lengths);
    if (d + 1 == a.bins) {
      for (int64_t p = 0; p < pixels; ++p)
        starts[p] = lengths[p] | (lengths[p] ? 1 << 16 : 0);
    } else {
      const int32_t* cells_after = cells + pixels;
      int32_t* starts_after = starts + pixels;
      for (int64_t p = 0; p < pixels; ++p) {
        const bool goes_on = (lengths[p] != 0) & (lengths[p] == lengths_after[p]) &
                             (cells[p] == cells_after[p]);
        const int32_t bins_after = goes_on ? starts_after[p] & ~0xffff : 0;
        starts_after[p] = goes_on ? 0 : starts_after[p];
        starts[p] = (lengths[p] | (lengths[p] ? 1 << 16 : 0)) + bins_after;
      }
    }
    int32_t* swapped = lengths;
    lengths = lengths_after;
    lengths_after = swapped;
  }
}

// ---- one entry per kernel ---------------------------------------------------------------------

#define BEVPOOL_BY_DTYPE(kernel)                                         \
  [](const auto& a, int64_t first, int64_t last) {                       \
    switch (a.dtype) {                                                   \
      case Dtype::kFloat: return kernel<float>(a, first, last);          \
      case Dtype::kDouble: return kernel<double>(a, first, last);        \
      case Dtype::kBFloat16: return kernel<BFloat16>(a, first, last);    \
      case Dtype::kHalf: return kernel<Half>(a, first, last);            \
    }                                                                    \
  }

#define BEVPOOL_STRING_OF(name) #name
#define BEVPOOL_STRING(name) BEVPOOL_STRING_OF(name)

}  // namespace

const Kernels BEVPOOL_NAMED(kernels) = {
    BEVPOOL_STRING(BEVPOOL_ISA), BEVPOOL_BY_DTYPE(pack),       BEVPOOL_BY_DTYPE(forward),
    BEVPOOL_BY_DTYPE(backward),  run_starts, BEVPOOL_NAMED(frustum),
};

}  // namespace bevpool
