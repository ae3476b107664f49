// Picks the kernels for the processor this runs on.
#include "kernels.h"

namespace bevpool {

extern const Kernels kernels_default;
#ifdef BEVPOOL_X86
extern const Kernels kernels_avx2;
extern const Kernels kernels_avx512;
#endif

const Kernels& kernels_for_this_cpu() {
#ifdef BEVPOOL_X86
  static const Kernels& best =
      __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
              __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")
          ? kernels_avx512
      : __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? kernels_avx2
                                                                        : kernels_default;
  return best;
#else
  return kernels_default;
#endif
}

}  // namespace bevpool
