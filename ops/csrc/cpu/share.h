// Sharing work among PyTorch's threads.
#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace bevpool {

// Calls f(first, last) until all items are done; each thread takes the next `block` that is left,
// because items differ in size. The results may not depend on who does what.
template <typename F>
void share(int64_t items, int64_t block, const F& f) {
  std::atomic<int64_t> next{0};
  const int64_t blocks = (items + block - 1) / block;
  const int64_t threads = std::min<int64_t>(at::get_num_threads(), blocks);
  at::parallel_for(0, threads, 1, [&](int64_t, int64_t) {
    for (int64_t first; (first = block * next++) < items;)
      f(first, std::min(first + block, items));
  });
}

}  // namespace bevpool
