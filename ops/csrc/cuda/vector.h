// Reading 16 bytes at once, and picking a kernel's dtype.
#pragma once

#include "launch.h"

namespace bevpool {

template <typename S>
constexpr int kVector = 16 / sizeof(S);

template <typename S, int kLength = kVector<S>>
struct alignas(sizeof(S) * kLength) Vector {
  S value[kLength];
};

template <typename S, int kLength = kVector<S>>
__device__ __forceinline__ Vector<S, kLength> load_vector(const void* rows, int64_t element) {
  return *reinterpret_cast<const Vector<S, kLength>*>(static_cast<const S*>(rows) + element);
}

// Channels that a thread of the forward adds up: 16 bytes of sums.
template <typename S>
constexpr int kThreadChannels = kVector<Sum<S>>;

// A struct would be stored value by value.
template <typename T>
__device__ __forceinline__ void store_16_bytes(const T& value, void* target) {
  *static_cast<uint4*>(target) = bit_cast<uint4>(value);
}

#define BEVPOOL_FOR_DTYPE(function, ...)                               \
  switch (dtype) {                                                     \
    case CudaDtype::kFloat: return function<float>(__VA_ARGS__);       \
    case CudaDtype::kDouble: return function<double>(__VA_ARGS__);     \
    case CudaDtype::kBFloat16: return function<BFloat16>(__VA_ARGS__); \
    case CudaDtype::kHalf: return function<Half>(__VA_ARGS__);         \
  }

}  // namespace bevpool
