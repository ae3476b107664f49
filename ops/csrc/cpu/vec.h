// Vectors of the instruction set that this translation unit is compiled for, and the conversions
// and transpositions the kernels need. Everything has internal linkage: the same source is compiled
// several times into one library, and the linker must never mix the versions.
#pragma once

#include <cstdint>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace bevpool {
namespace {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

template <typename T>
struct VectorOf;
template <>
struct VectorOf<float> {
  typedef float type __attribute__((vector_size(kVectorBytes)));
  typedef int32_t index __attribute__((vector_size(kVectorBytes)));
  static constexpr int lanes = kVectorBytes / 4;
};
template <>
struct VectorOf<double> {
  typedef double type __attribute__((vector_size(kVectorBytes)));
  typedef int64_t index __attribute__((vector_size(kVectorBytes)));
  static constexpr int lanes = kVectorBytes / 8;
};

template <typename T>
using Vec = typename VectorOf<T>::type;
typedef int32_t VecI32 __attribute__((vector_size(kVectorBytes)));
typedef uint32_t VecU32 __attribute__((vector_size(kVectorBytes)));
typedef uint16_t VecU16 __attribute__((vector_size(kVectorBytes / 2)));

// ---- one vector ------------------------------------------------------------------------------

template <typename T>
BEVPOOL_INLINE Vec<T> load(const T* p) {
  Vec<T> v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}
BEVPOOL_INLINE Vec<float> load(const BFloat16* p) {
  VecU16 bits;
  __builtin_memcpy(&bits, p, sizeof(bits));
  return bit_cast<Vec<float>>(__builtin_convertvector(bits, VecU32) << 16);
}
BEVPOOL_INLINE Vec<float> load(const Half* p) {
#if defined(__AVX512F__)
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
#elif defined(__AVX2__) && defined(__F16C__)
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
#else
  Vec<float> v;
  for (int i = 0; i < VectorOf<float>::lanes; ++i) v[i] = to_sum(p[i]);
  return v;
#endif
}

template <typename T>
BEVPOOL_INLINE void store(T* p, Vec<T> v) {
  __builtin_memcpy(p, &v, sizeof(v));
}
BEVPOOL_INLINE void store(BFloat16* p, Vec<float> v) {
  const VecU32 bits = bit_cast<VecU32>(v);
  const VecU32 rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const VecU32 is_nan = bit_cast<VecU32>(v != v);
  const VecU16 narrow = __builtin_convertvector((rounded & ~is_nan) | (is_nan & 0x7fc0u), VecU16);
  __builtin_memcpy(p, &narrow, sizeof(narrow));
}
BEVPOOL_INLINE void store(Half* p, Vec<float> v) {
#if defined(__AVX512F__)
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
#elif defined(__AVX2__) && defined(__F16C__)
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
#else
  for (int i = 0; i < VectorOf<float>::lanes; ++i) from_sum(v[i], p + i);
#endif
}

#if defined(__AVX512F__)
BEVPOOL_INLINE __mmask16 first_lanes(int64_t count) {
  return static_cast<__mmask16>((1u << count) - 1u);
}
#elif defined(__AVX2__)
BEVPOOL_INLINE __m256i first_lanes(int64_t count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)),
                            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
#endif

// The first `count` values, the other lanes zero.
template <typename T>
BEVPOOL_INLINE Vec<Sum<T>> load_some(const T* p, int64_t count) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) return _mm512_maskz_loadu_ps(first_lanes(count), p);
#elif defined(__AVX2__)
  if constexpr (sizeof(T) == 4) return _mm256_maskload_ps(p, first_lanes(count));
#endif
  T buffer[VectorOf<Sum<T>>::lanes] = {};
  for (int64_t i = 0; i < count; ++i) buffer[i] = p[i];
  return load(buffer);
}
template <typename T>
BEVPOOL_INLINE void store_some(T* p, Vec<Sum<T>> v, int64_t count) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) return _mm512_mask_storeu_ps(p, first_lanes(count), v);
#elif defined(__AVX2__)
  if constexpr (sizeof(T) == 4) return _mm256_maskstore_ps(p, first_lanes(count), v);
#endif
  T buffer[VectorOf<Sum<T>>::lanes];
  store(buffer, v);
  for (int64_t i = 0; i < count; ++i) p[i] = buffer[i];
}

template <typename T>
BEVPOOL_INLINE Vec<T> splat(T x) {
  return x - Vec<T>{};  // unlike x + 0, this is x itself for -0 too: no instruction is left
}

// ---- some lanes --------------------------------------------------------------------------------

#if defined(__AVX512F__)
template <typename T>
using LaneMask = uint32_t;

template <typename T>
BEVPOOL_INLINE LaneMask<T> lanes_between(int64_t first, int64_t last) {
  return (1u << last) - (1u << first);
}
// sum + a * b in these lanes, sum in the others: what a and b hold there does not matter.
BEVPOOL_INLINE Vec<float> add_product_where(uint32_t mask, Vec<float> sum, Vec<float> a,
                                            Vec<float> b) {
  return _mm512_mask3_fmadd_ps(a, b, sum, static_cast<__mmask16>(mask));
}
BEVPOOL_INLINE Vec<double> add_product_where(uint32_t mask, Vec<double> sum, Vec<double> a,
                                             Vec<double> b) {
  return _mm512_mask3_fmadd_pd(a, b, sum, static_cast<__mmask8>(mask));
}
BEVPOOL_INLINE void store_where(uint32_t mask, float* p, Vec<float> v) {
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>(mask), v);
}
BEVPOOL_INLINE void store_where(uint32_t mask, double* p, Vec<double> v) {
  _mm512_mask_storeu_pd(p, static_cast<__mmask8>(mask), v);
}
#else
template <typename T>
using LaneMask = typename VectorOf<T>::index;

template <typename T>
BEVPOOL_INLINE LaneMask<T> lanes_between(int64_t first, int64_t last) {
  LaneMask<T> mask;
  for (int k = 0; k < VectorOf<T>::lanes; ++k) mask[k] = k >= first && k < last ? -1 : 0;
  return mask;
}
template <typename V, typename M>
BEVPOOL_INLINE V add_product_where(M mask, V sum, V a, V b) {
  return mask ? sum + a * b : sum;
}
template <typename T>
BEVPOOL_INLINE void store_where(LaneMask<T> mask, T* p, Vec<T> v) {
  for (int k = 0; k < VectorOf<T>::lanes; ++k)
    if (mask[k]) p[k] = v[k];
}
#endif

// ---- integers ---------------------------------------------------------------------------------

BEVPOOL_INLINE VecI32 load_ints(const int32_t* p) {
  VecI32 v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}

// Bit k is set where lane k of a comparison is true.
BEVPOOL_INLINE uint64_t lane_bits(VecI32 truth) {
#if defined(__AVX512F__)
  return _mm512_movepi32_mask(bit_cast<__m512i>(truth));
#elif defined(__AVX2__)
  return static_cast<uint32_t>(_mm256_movemask_ps(bit_cast<__m256>(truth)));
#else
  uint64_t bits = 0;
  for (int k = 0; k < VectorOf<float>::lanes; ++k) bits |= uint64_t{truth[k] != 0} << k;
  return bits;
#endif
}

// ---- transposition ---------------------------------------------------------------------------

#if defined(__clang__)
template <typename T, int... I>
BEVPOOL_INLINE Vec<T> pick(Vec<T> a, Vec<T> b) {
  return __builtin_shufflevector(a, b, I...);
}
#else
template <typename T, int... I>
BEVPOOL_INLINE Vec<T> pick(Vec<T> a, Vec<T> b) {
  const typename VectorOf<T>::index order = {I...};
  return __builtin_shuffle(a, b, order);
}
#endif

// a0 b0 a1 b1 ... from the lower (or upper) half of both.
template <typename T>
BEVPOOL_INLINE Vec<T> interleave_low(Vec<T> a, Vec<T> b) {
  constexpr int n = VectorOf<T>::lanes;
  if constexpr (n == 16)
    return pick<T, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23>(a, b);
  else if constexpr (n == 8)
    return pick<T, 0, 8, 1, 9, 2, 10, 3, 11>(a, b);
  else if constexpr (n == 4)
    return pick<T, 0, 4, 1, 5>(a, b);
  else
    return pick<T, 0, 2>(a, b);
}
template <typename T>
BEVPOOL_INLINE Vec<T> interleave_high(Vec<T> a, Vec<T> b) {
  constexpr int n = VectorOf<T>::lanes;
  if constexpr (n == 16)
    return pick<T, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31>(a, b);
  else if constexpr (n == 8)
    return pick<T, 4, 12, 5, 13, 6, 14, 7, 15>(a, b);
  else if constexpr (n == 4)
    return pick<T, 2, 6, 3, 7>(a, b);
  else
    return pick<T, 1, 3>(a, b);
}

// log2(lanes) perfect shuffles of the concatenated rows transpose a square tile.
template <typename T>
BEVPOOL_INLINE void transpose_square(Vec<T>* rows) {
  constexpr int n = VectorOf<T>::lanes;
#pragma GCC unroll 4
  for (int step = 1; step < n; step *= 2) {
    Vec<T> next[n];
#pragma GCC unroll 8
    for (int i = 0; i < n / 2; ++i) {
      next[2 * i] = interleave_low<T>(rows[i], rows[i + n / 2]);
      next[2 * i + 1] = interleave_high<T>(rows[i], rows[i + n / 2]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < n; ++i) rows[i] = next[i];
  }
}

#if defined(__AVX512F__)
// target[j][i] = source[i][j] for 16 rows and 8 columns of the source.
template <typename To>
BEVPOOL_INLINE void transpose_16x8(const float* source, int64_t source_stride, To* target,
                                   int64_t target_stride) {
  Vec<float> rows[8], next[8];
#pragma GCC unroll 8
  for (int k = 0; k < 8; ++k)  // source rows k and k + 8 are the halves of vector k
    rows[k] = _mm512_insertf32x8(_mm512_castps256_ps512(_mm256_loadu_ps(source + k * source_stride)),
                                 _mm256_loadu_ps(source + (k + 8) * source_stride), 1);
#pragma GCC unroll 3
  for (int step = 0; step < 3; ++step) {  // transpose_square in each half
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      next[2 * i] = pick<float, 0, 16, 1, 17, 2, 18, 3, 19, 8, 24, 9, 25, 10, 26, 11, 27>(
          rows[i], rows[i + 4]);
      next[2 * i + 1] = pick<float, 4, 20, 5, 21, 6, 22, 7, 23, 12, 28, 13, 29, 14, 30, 15, 31>(
          rows[i], rows[i + 4]);
    }
#pragma GCC unroll 8
    for (int k = 0; k < 8; ++k) rows[k] = next[k];
  }
#pragma GCC unroll 8
  for (int k = 0; k < 8; ++k) store(target + k * target_stride, rows[k]);
}
#endif

// One tile of transpose(), at most lanes x lanes.
template <typename From, typename To>
BEVPOOL_INLINE void transpose_tile(const From* source, int64_t source_stride, int64_t rows,
                                   int64_t columns, To* target, int64_t target_stride,
                                   int64_t padded_rows) {
  using T = Sum<From>;
  constexpr int64_t n = VectorOf<T>::lanes;
#if defined(__AVX512F__)
  if constexpr (n == 16 && sizeof(From) == 4)
    if (rows >= n && columns == 8) return transpose_16x8(source, source_stride, target, target_stride);
#endif
  Vec<T> tile[n];
  if (rows >= n && columns >= n) {
#pragma GCC unroll 16
    for (int64_t k = 0; k < n; ++k) tile[k] = load(source + k * source_stride);
  } else {
#pragma GCC unroll 16
    for (int64_t k = 0; k < n; ++k)
      tile[k] = k < rows ? load_some(source + k * source_stride, columns < n ? columns : n)
                         : Vec<T>{};
  }
  transpose_square<T>(tile);
  if (padded_rows >= n && columns >= n) {
#pragma GCC unroll 16
    for (int64_t k = 0; k < n; ++k) store(target + k * target_stride, tile[k]);
  } else {
#pragma GCC unroll 16
    for (int64_t k = 0; k < n; ++k)
      if (k < columns) store_some(target + k * target_stride, tile[k], padded_rows < n ? padded_rows : n);
  }
}

// Where a tile begins: the last one steps back over its neighbour, which is faster than a partial
// one and writes the same values again.
BEVPOOL_INLINE int64_t tile_begin(int64_t begin, int64_t size, int64_t lanes) {
  return begin + lanes > size && size >= lanes ? size - lanes : begin;
}

// target[j][i] = source[i][j] for i < rows, j < columns, converting the values.
// Columns of `target` between `rows` and `padded_rows` are set to zero.
template <typename From, typename To>
BEVPOOL_INLINE void transpose(const From* source, int64_t source_stride, int64_t rows,
                              int64_t columns, To* target, int64_t target_stride,
                              int64_t padded_rows) {
  constexpr int64_t n = VectorOf<Sum<From>>::lanes;
  const auto tile = [&](int64_t i0, int64_t j0) __attribute__((always_inline)) {
    const int64_t i = padded_rows == rows ? tile_begin(i0, rows, n) : i0;
    const int64_t j = tile_begin(j0, columns, n);
    transpose_tile(source + i * source_stride + j, source_stride, rows - i, columns - j,
                   target + j * target_stride + i, target_stride, padded_rows - i);
  };
  // The side with the longer stride is walked along its neighbouring values: far-apart lines
  // compete for the same cache sets.
  if (source_stride > target_stride) {
    for (int64_t i = 0; i < padded_rows; i += n)
      for (int64_t j = 0; j < columns; j += n) tile(i, j);
  } else {
    for (int64_t j = 0; j < columns; j += n)
      for (int64_t i = 0; i < padded_rows; i += n) tile(i, j);
  }
}

}  // namespace
}  // namespace bevpool
