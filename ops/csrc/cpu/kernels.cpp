// The pooling kernels, compiled once per instruction set with -DBEVPOOL_ISA=<name>.
#include "kernels.h"

#include <cstring>

#include "vec.h"

namespace bevpool {

int64_t BEVPOOL_NAMED(find_runs)(const FindRunsArgs& a, Run* runs);
void BEVPOOL_NAMED(frustum)(const FrustumArgs& a, int64_t first_plane, int64_t last_plane);
extern const Kernels BEVPOOL_NAMED(kernels);

namespace {

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

// ---- packing and unpacking ---------------------------------------------------------------------

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
void pack_columns(const PackColumnsArgs& a, int64_t first, int64_t last) {
  for (int64_t work = first; work < last; ++work) {
    const int64_t image = work / a.planes, plane = work % a.planes;
    const S* source =
        static_cast<const S*>(a.source) + image * a.image_stride + plane * a.plane_stride;
    Sum<S>* target = static_cast<Sum<S>*>(a.packed) +
                     (image * a.width * a.planes + plane) * a.packed_height;
    transpose(source, a.width, a.height, a.width, target, a.planes * a.packed_height,
              a.packed_height);
  }
}

template <typename S>
void unpack_columns(const UnpackColumnsArgs& a, int64_t first, int64_t last) {
  for (int64_t work = first; work < last; ++work) {
    const int64_t image = work / a.planes, plane = work % a.planes;
    const Sum<S>* source = static_cast<const Sum<S>*>(a.packed) +
                           (image * a.width * a.planes + plane) * a.packed_height;
    transpose(source, a.planes * a.packed_height, a.width, a.height,
              static_cast<S*>(a.target) + work * a.height * a.width, a.width, a.width);
  }
}

// ---- forward: the runs of a BEV tile, column by column ------------------------------------------

template <typename T>
struct AddRuns {
  const ForwardArgs& a;
  int64_t first_run, last_run;
  T* sums;

  template <int Vectors>
  BEVPOOL_INLINE void operator()(int64_t channel) const {
    constexpr int lanes = VectorOf<T>::lanes;
    // Copies, because for all the compiler knows the stores below change the originals.
    const T* packed_depth = static_cast<const T*>(a.packed_depth);
    const T* packed_context = static_cast<const T*>(a.packed_context) + channel;
    const int64_t bins = a.bins, height = a.height, padded_channels = a.padded_channels;
    for (int64_t r = first_run; r < last_run; ++r) {
      const Run run = a.runs[r];
      const int64_t column = run.column;
      const T* depth = packed_depth + (column * bins + run.first_bin) * height + run.first_row;
      const T* row = packed_context + (column * height + run.first_row) * padded_channels;
      T* sum = sums + run.cell * padded_channels + channel;
      Vec<T> total[Vectors];
#pragma GCC unroll 6
      for (int i = 0; i < Vectors; ++i) total[i] = load(sum + i * lanes);
      for (int first = 0; first < run.rows; first += lanes) {
        // Lanes beyond the run hold other points' depth, or padding, and are not used.
        Vec<T> sum_of_bins = load(depth + first);
        for (int d = 1; d < run.bins; ++d) sum_of_bins += load(depth + d * height + first);
        T weight[lanes];
        store(weight, sum_of_bins);
        const int rows = run.rows - first < lanes ? run.rows - first : lanes;
        for (int k = 0; k < rows; ++k) {
          const Vec<T> w = splat(weight[k]);
#pragma GCC unroll 6
          for (int i = 0; i < Vectors; ++i) total[i] += w * load(row + i * lanes);
          row += padded_channels;
        }
      }
#pragma GCC unroll 6
      for (int i = 0; i < Vectors; ++i) store(sum + i * lanes, total[i]);
    }
  }
};

template <typename S>
void add_runs(const ForwardArgs& a, int64_t first_run, int64_t last_run, void* sums) {
  using T = Sum<S>;
  std::memset(sums, 0, kTileCells * a.padded_channels * sizeof(T));
  for_channel_blocks<T>(a.padded_channels,
                        AddRuns<T>{a, first_run, last_run, static_cast<T*>(sums)});
}

// Sixteen lines a power of two apart, as the channels of most grids are, fall into one set of the
// first cache and push each other out before they are written: so eight channels at a time.
constexpr int64_t kWriteChannels = 8;

template <typename S>
void write_tile(const ForwardArgs& a, int64_t tile, void* sums_of_parts, int64_t parts) {
  using T = Sum<S>;
  T* sums = static_cast<T*>(sums_of_parts);
  const int64_t size = kTileCells * a.padded_channels;
  for (int64_t part = 1; part < parts; ++part)
    for (int64_t i = 0; i < size; ++i) sums[i] += sums[part * size + i];

  const int64_t tiles_x = (a.bev_x + kTileX - 1) / kTileX;
  const int64_t tiles = (a.bev_y + kTileY - 1) / kTileY * tiles_x, grid = a.bev_y * a.bev_x;
  const int64_t y0 = tile % tiles / tiles_x * kTileY, x0 = tile % tiles_x * kTileX;
  const int64_t rows = a.bev_y - y0 < kTileY ? a.bev_y - y0 : kTileY;
  const int64_t columns = a.bev_x - x0 < kTileX ? a.bev_x - x0 : kTileX;
  S* bev = static_cast<S*>(a.bev) + tile / tiles * a.channels * grid + y0 * a.bev_x + x0;
  for (int64_t c = 0; c < a.channels; c += kWriteChannels) {
    const int64_t rest = a.channels - c;
    for (int64_t y = 0; y < rows; ++y)
      transpose(sums + y * kTileX * a.padded_channels + c, a.padded_channels, columns,
                rest < kWriteChannels ? rest : kWriteChannels, bev + c * grid + y * a.bev_x, grid,
                columns);
  }
}

// ---- backward: columns gather the gradients of their cells ---------------------------------------

// Lanes are rows here, so that the products with the context need no sum over lanes. The column's
// context is read once for so many runs.
#if defined(__AVX512F__)
constexpr int kRunsAtOnce = 4;
#else
constexpr int kRunsAtOnce = 2;  // sixteen registers hold no more
#endif

// A vector of rows of one column.
template <typename T>
struct ColumnRows {
  const T* depth;      // [D, H] from the first of the rows
  const T* context;    // [C, packed_height]
  const T* grad;       // of the batch item, [grid, padded_channels]
  T* depth_grad;       // as depth
  T* context_grad;     // as context
};

// Both gradients of a few runs: each value of a cell's gradient is read once, multiplied with the
// context of the run's rows for the depth, and with their depth for the context.
template <typename T, int kRuns>
BEVPOOL_INLINE void add_gradients(const BackwardArgs& a, const ColumnRows<T>& column, int64_t row,
                                  const Run* const* runs) {
  constexpr int64_t lanes = VectorOf<T>::lanes;
  // Copies, because for all the compiler knows the stores below change the originals.
  const int64_t height = a.height, packed_height = a.packed_height, channels = a.channels;
  const T* context = column.context;
  T* context_grad = column.context_grad;
  const T* grad[kRuns];
  LaneMask<T> mask[kRuns];
  Vec<T> weight[kRuns], dot[kRuns];
#pragma GCC unroll 4
  for (int i = 0; i < kRuns; ++i) {
    const Run& run = *runs[i];
    const int64_t first = run.first_row - row, last = first + run.rows;
    mask[i] = lanes_between<T>(first > 0 ? first : 0, last < lanes ? last : lanes);
    grad[i] = column.grad + run.cell * a.padded_channels;
    weight[i] = load(column.depth + run.first_bin * height);  // other lanes are not used
    for (int64_t d = 1; d < run.bins; ++d)
      weight[i] += load(column.depth + (run.first_bin + d) * height);
    dot[i] = Vec<T>{};
  }
  for (int64_t c = 0; c < channels; ++c) {
    const Vec<T> feature = load(context + c * packed_height);
    Vec<T> sum = load(context_grad + c * packed_height);
#pragma GCC unroll 4
    for (int i = 0; i < kRuns; ++i) {
      const Vec<T> g = splat(grad[i][c]);
      dot[i] += feature * g;
      sum = add_product_where(mask[i], sum, weight[i], g);
    }
    store(context_grad + c * packed_height, sum);
  }
#pragma GCC unroll 4
  for (int i = 0; i < kRuns; ++i)
    for (int64_t d = 0; d < runs[i]->bins; ++d)
      store_where(mask[i], column.depth_grad + (runs[i]->first_bin + d) * height, dot[i]);
}

template <typename T>
void add_gradients_of_rows(const BackwardArgs& a, const ColumnRows<T>& column, int64_t row,
                           const Run* first_run, const Run* last_run) {
  const Run* group[kRunsAtOnce];
  int count = 0;
  for (const Run* run = first_run; run < last_run; ++run) {
    if (run->first_row >= row + VectorOf<T>::lanes || run->first_row + run->rows <= row) continue;
    // A ray's cells lie apart in memory, where no hardware expects the next one.
    if (last_run - run > kRunsAtOnce) {
      const T* next = column.grad + run[kRunsAtOnce].cell * a.padded_channels;
      for (int64_t c = 0; c < a.padded_channels; c += 64 / sizeof(T)) __builtin_prefetch(next + c);
    }
    group[count++] = run;
    if (count < kRunsAtOnce) continue;
    add_gradients<T, kRunsAtOnce>(a, column, row, group);
    count = 0;
  }
  for (int i = 0; i < count; ++i) add_gradients<T, 1>(a, column, row, group + i);
}

template <typename S>
void backward(const BackwardArgs& a, int64_t first_column, int64_t last_column) {
  using T = Sum<S>;
  const int64_t points = a.bins * a.height, features = a.channels * a.packed_height;
  for (int64_t w = first_column; w < last_column; ++w) {
    T* depth_grad = static_cast<T*>(a.packed_depth_grad) + w * points;
    T* context_grad = static_cast<T*>(a.packed_context_grad) + w * features;
    std::memset(depth_grad, 0, points * sizeof(T));
    std::memset(context_grad, 0, features * sizeof(T));
    for (int64_t row = 0; row < a.height; row += VectorOf<T>::lanes) {
      const ColumnRows<T> column{
          static_cast<const T*>(a.packed_depth) + w * points + row,
          static_cast<const T*>(a.packed_context) + w * features + row,
          static_cast<const T*>(a.packed_grad) + w / a.columns_per_item * a.grid * a.padded_channels,
          depth_grad + row, context_grad + row};
      add_gradients_of_rows(a, column, row, a.column_runs + a.column_offsets[w],
                            a.column_runs + a.column_offsets[w + 1]);
    }
  }
}

// ---- one entry per kernel ---------------------------------------------------------------------

#define BEVPOOL_BY_DTYPE(kernel)                                         \
  [](const auto& a, auto... rest) {                                      \
    switch (a.dtype) {                                                   \
      case Dtype::kFloat: return kernel<float>(a, rest...);              \
      case Dtype::kDouble: return kernel<double>(a, rest...);            \
      case Dtype::kBFloat16: return kernel<BFloat16>(a, rest...);        \
      case Dtype::kHalf: return kernel<Half>(a, rest...);                \
    }                                                                    \
  }

#define BEVPOOL_STRING_OF(name) #name
#define BEVPOOL_STRING(name) BEVPOOL_STRING_OF(name)

}  // namespace

const Kernels BEVPOOL_NAMED(kernels) = {
    BEVPOOL_STRING(BEVPOOL_ISA),
    BEVPOOL_BY_DTYPE(pack),
    BEVPOOL_BY_DTYPE(pack_columns),
    BEVPOOL_BY_DTYPE(unpack_columns),
    BEVPOOL_BY_DTYPE(add_runs),
    BEVPOOL_BY_DTYPE(write_tile),
    BEVPOOL_BY_DTYPE(backward),
    BEVPOOL_NAMED(find_runs),
    BEVPOOL_NAMED(frustum),
};

}  // namespace bevpool
