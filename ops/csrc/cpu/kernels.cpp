// The pooling kernels, compiled once per instruction set with -DBEVPOOL_ISA=<name>.
#include "kernels.h"

#include <cstdlib>
#include <cstring>

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
  void clear(int64_t size) { std::memset(data_, 0, size * sizeof(T)); }

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

// Channels next to each other for `count` places of the source.
template <typename S>
BEVPOOL_INLINE void pack_places(const S* source, int64_t channel_stride, int64_t place_stride,
                                int64_t count, int64_t channels, int64_t padded_channels,
                                Sum<S>* target, int64_t target_stride) {
  constexpr int64_t lanes = VectorOf<Sum<S>>::lanes;
  if (place_stride == 1) {
    transpose(source, channel_stride, channels, count, target, target_stride, padded_channels);
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t c = 0; c < padded_channels; c += lanes) {
      const S* p = source + i * place_stride + c;
      Vec<Sum<S>> v = Vec<Sum<S>>{};
      if (channels - c >= lanes)
        v = load(p);
      else if (channels > c)
        v = load_some(p, channels - c);
      store(target + i * target_stride + c, v);
    }
  }
}

template <typename S>
void pack(const PackArgs& a, int64_t first, int64_t last) {
  const bool is_image = a.width > 1;
  const int64_t block = is_image ? a.width : kPackRows;
  const int64_t blocks = is_image ? a.height : (a.height + block - 1) / block;
  for (int64_t work = first; work < last; ++work) {
    const int64_t item = work / blocks, place = work % blocks * block;
    const int64_t rest = a.height * a.width - place;
    const int64_t row = item * a.height * a.width + (is_image ? work % blocks : place);
    pack_places(
        static_cast<const S*>(a.source) + item * a.item_stride + place * a.place_stride,
        a.channel_stride, a.place_stride, rest < block ? rest : block, a.channels,
        a.padded_channels, static_cast<Sum<S>*>(a.packed) + row * a.padded_channels,
        is_image ? a.height * a.padded_channels : a.padded_channels);
  }
}

template <typename S>
void pack_depth(const PackDepthArgs& a, int64_t first_plane, int64_t last_plane) {
  const int64_t pixels = a.height * a.width;
  for (int64_t plane = first_plane; plane < last_plane; ++plane) {
    const int64_t image = plane / a.bins, d = plane % a.bins;
    const S* source = static_cast<const S*>(a.depth) + image * a.image_stride + d * pixels;
    Sum<S>* target =
        static_cast<Sum<S>*>(a.packed) + image * a.bins * pixels + d * a.height;
    transpose(source, a.width, a.height, a.width, target, a.bins * a.height, a.height);
  }
}

// ---- forward: BEV cells gather their runs -----------------------------------------------------

template <typename T>
struct SumCell {
  const ForwardArgs& a;
  int64_t cell;
  T* sum;  // [padded_channels]

  template <int Vectors>
  BEVPOOL_INLINE void operator()(int64_t channel) const {
    constexpr int lanes = VectorOf<T>::lanes;
    const T* packed_depth = static_cast<const T*>(a.packed_depth);
    const T* packed_context = static_cast<const T*>(a.packed_context) + channel;
    Vec<T> total[Vectors];
#pragma GCC unroll 6
    for (int i = 0; i < Vectors; ++i) total[i] = Vec<T>{};
    for (int32_t r = a.offsets[cell]; r < a.offsets[cell + 1]; ++r) {
      const Run run = a.runs[r];
      const int64_t column = run.column;
      const T* depth =
          packed_depth + (column * a.bins + run.first_bin) * a.height + run.first_row;
      const T* row = packed_context + (column * a.height + run.first_row) * a.padded_channels;
      for (int first = 0; first < run.rows; first += lanes) {
        // Lanes beyond the run hold other points' depth, or padding, and are not used.
        Vec<T> sum_of_bins = load(depth + first);
        for (int d = 1; d < run.bins; ++d) sum_of_bins += load(depth + d * a.height + first);
        T weight[lanes];
        store(weight, sum_of_bins);
        const int rows = run.rows - first < lanes ? run.rows - first : lanes;
        for (int k = 0; k < rows; ++k) {
          const Vec<T> w = splat(weight[k]);
#pragma GCC unroll 6
          for (int i = 0; i < Vectors; ++i) total[i] += w * load(row + i * lanes);
          row += a.padded_channels;
        }
      }
    }
#pragma GCC unroll 6
    for (int i = 0; i < Vectors; ++i) store(sum + channel + i * lanes, total[i]);
  }
};

template <typename S>
void forward(const ForwardArgs& a, int64_t first_tile, int64_t last_tile) {
  using T = Sum<S>;
  const int64_t tiles = (a.grid + kTileCells - 1) / kTileCells;
  Workspace<T> sums(kTileCells * a.padded_channels);
  for (int64_t tile = first_tile; tile < last_tile; ++tile) {
    const int64_t item = tile / tiles, cell = tile % tiles * kTileCells;
    const int64_t count = a.grid - cell < kTileCells ? a.grid - cell : kTileCells;
    for (int64_t j = 0; j < count; ++j)
      for_channel_blocks<T>(a.padded_channels,
                            SumCell<T>{a, item * a.grid + cell + j,
                                       sums.get() + j * a.padded_channels});
    S* bev = static_cast<S*>(a.bev) + item * a.channels * a.grid + cell;
    transpose(sums.get(), a.padded_channels, count, a.channels, bev, a.grid, count);
  }
}

// ---- backward: columns gather their cells -----------------------------------------------------

// Both gradients of one run: a cell's gradient is read once, multiplied with the context of each
// row for the depth, and added to each row's context gradient with the row's depth.
template <typename T>
struct RunGradients {
  const BackwardArgs& a;
  Run run;
  const T* depth;    // of the run's first row and bin
  const T* context;  // of the run's first row
  const T* grad;     // of the run's cell
  T* depth_grad;     // [bins, H], zero at first
  T* context_grad;   // [rows, padded_channels], sums

  template <int Vectors>
  BEVPOOL_INLINE void operator()(int64_t channel) const {
    constexpr int lanes = VectorOf<T>::lanes;
    // Copies, because for all the compiler knows the stores below change the originals.
    const int64_t height = a.height, padded_channels = a.padded_channels;
    const int run_rows = run.rows, run_bins = run.bins;
    Vec<T> g[Vectors];
#pragma GCC unroll 6
    for (int i = 0; i < Vectors; ++i) g[i] = load(grad + channel + i * lanes);
    for (int first = 0; first < run_rows; first += lanes) {
      const int rows = run_rows - first < lanes ? run_rows - first : lanes;
      const T* bin = depth + first;
      Vec<T> sum_of_bins = load(bin);  // lanes beyond the run are not used
      for (int d = 1; d < run_bins; ++d) sum_of_bins += load(bin += height);
      T weight[lanes];
      store(weight, sum_of_bins);
      const T* feature = context + first * padded_channels + channel;
      T* target = context_grad + first * padded_channels + channel;
      Vec<T> product[lanes];
#pragma GCC unroll 16
      for (int k = 0; k < lanes; ++k) product[k] = Vec<T>{};
      for (int k = 0; k < rows; ++k) {
        const Vec<T> w = splat(weight[k]);
        Vec<T> dot = Vec<T>{};
#pragma GCC unroll 6
        for (int i = 0; i < Vectors; ++i) {
          dot += load(feature + i * lanes) * g[i];
          store(target + i * lanes, load(target + i * lanes) + w * g[i]);
        }
        product[k] = dot;
        feature += padded_channels;
        target += padded_channels;
      }
      const Vec<T> dots = sums_of_lanes<T>(product);
      T* bin_grad = depth_grad + first;
      for (int d = 0; d < run_bins; ++d) {
        store_some(bin_grad, load_some(bin_grad, rows) + dots, rows);
        bin_grad += height;
      }
    }
  }
};

// The columns [w0, w0 + count) of one image, in memory close to the core. Column by column:
// depth is [columns, D, H], context [columns, H, padded_channels].
template <typename S>
struct ColumnBlock {
  using T = Sum<S>;

  explicit ColumnBlock(const BackwardArgs& args)
      : a(args), points(a.bins * a.height), features(a.height * a.padded_channels),
        depth(kColumnBlock * points + kDepthPadding), depth_grad(kColumnBlock * points),
        context(kColumnBlock * features), context_grad(kColumnBlock * features) {}

  void read(int64_t image, int64_t w0, int64_t count) {
    const int64_t pixels = a.height * a.width;
    const S* source = static_cast<const S*>(a.depth) + image * a.depth_image_stride + w0;
    for (int64_t d = 0; d < a.bins; ++d)
      transpose(source + d * pixels, a.width, a.height, count, depth.get() + d * a.height, points,
                a.height);
    const S* features_source = static_cast<const S*>(a.context) + image * a.context_image_stride;
    for (int64_t h = 0; h < a.height; ++h)
      pack_places(features_source + (h * a.width + w0) * a.context_pixel_stride,
                  a.context_channel_stride, a.context_pixel_stride, count, a.channels,
                  a.padded_channels, context.get() + h * a.padded_channels, features);
    depth_grad.clear(count * points);
    context_grad.clear(count * features);
  }

  void add_runs(int64_t image, int64_t w0, int64_t count) {
    const T* grad = static_cast<const T*>(a.packed_grad) +
                    image / a.cameras * a.grid * a.padded_channels;
    for (int64_t w = 0; w < count; ++w) {
      const int32_t* runs = a.column_offsets + image * a.width + w0 + w;
      for (int32_t r = runs[0]; r < runs[1]; ++r) {
        const Run run = a.runs[r].run;
        // A ray's cells lie apart in memory, where no hardware expects the next one.
        if (r + 2 < runs[1]) {
          const T* next = grad + a.runs[r + 2].cell * a.padded_channels;
          for (int64_t c = 0; c < a.padded_channels; c += 64 / sizeof(T))
            __builtin_prefetch(next + c);
        }
        const int64_t point = w * points + run.first_bin * a.height + run.first_row;
        const int64_t row = w * features + run.first_row * a.padded_channels;
        for_channel_blocks<T>(
            a.padded_channels,
            RunGradients<T>{a, run, depth.get() + point, context.get() + row,
                            grad + a.runs[r].cell * a.padded_channels, depth_grad.get() + point,
                            context_grad.get() + row});
      }
    }
  }

  void write(int64_t image, int64_t w0, int64_t count) {
    const int64_t pixels = a.height * a.width;
    S* depth_target = static_cast<S*>(a.depth_grad) + image * a.bins * pixels + w0;
    for (int64_t d = 0; d < a.bins; ++d)
      transpose(depth_grad.get() + d * a.height, points, count, a.height,
                depth_target + d * pixels, a.width, count);
    S* context_target = static_cast<S*>(a.context_grad) + image * a.channels * pixels + w0;
    for (int64_t h = 0; h < a.height; ++h)
      transpose(context_grad.get() + h * a.padded_channels, features, count, a.channels,
                context_target + h * a.width, pixels, count);
  }

  const BackwardArgs& a;
  const int64_t points, features;
  Workspace<T> depth, depth_grad, context, context_grad;
};

template <typename S>
void backward(const BackwardArgs& a, int64_t first_block, int64_t last_block) {
  const int64_t blocks = (a.width + kColumnBlock - 1) / kColumnBlock;
  ColumnBlock<S> columns(a);
  for (int64_t block = first_block; block < last_block; ++block) {
    const int64_t image = block / blocks, w0 = block % blocks * kColumnBlock;
    const int64_t count = a.width - w0 < kColumnBlock ? a.width - w0 : kColumnBlock;
    columns.read(image, w0, count);
    columns.add_runs(image, w0, count);
    columns.write(image, w0, count);
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
    BEVPOOL_STRING(BEVPOOL_ISA), BEVPOOL_BY_DTYPE(pack),     BEVPOOL_BY_DTYPE(pack_depth),
    BEVPOOL_BY_DTYPE(forward),   BEVPOOL_BY_DTYPE(backward), run_starts,
    BEVPOOL_NAMED(frustum),
};

}  // namespace bevpool
