// CUDA kernels that find the runs of new cells and sort them by cell, without the host knowing how
// many there are. Atomics only count; the order they leave open is settled by the runs' numbers.
#include "launch.h"

namespace bevpool {
namespace {

// A block takes the bins of one row tile kStageBins at a time. Runs end where these do.
constexpr int kStageBins = 64, kThreadBins = 32, kBinsOfThread = kStageBins / kThreadBins;
constexpr int kBinPitch = kRowTile * kColumns + kColumns;  // so that bins meet no bank twice

// The rows of one bin and column: which of them begin a stretch of one cell, and which do not go on
// with the cell of the row above. Bit kRowTile is always set in `breaks`.
struct RowBits {
  uint32_t begins, breaks;
};

__device__ __forceinline__ RowBits row_bits(const int32_t* cells, int64_t grid) {
  RowBits bits{0, 1u << kRowTile};
  int32_t above = -1;
  for (int row = 0; row < kRowTile; ++row) {
    const int32_t cell = cells[row * kColumns];
    const bool inside = is_inside(cell, grid), goes_on = inside && row > 0 && cell == above;
    bits.begins |= static_cast<uint32_t>(inside && !goes_on) << row;
    bits.breaks |= static_cast<uint32_t>(!goes_on) << row;
    above = cell;
  }
  return bits;
}

#ifdef __CUDA_ARCH__
__device__ __forceinline__ int lowest_bit(uint32_t bits) { return __ffs(bits) - 1; }
__device__ __forceinline__ int count_bits(uint32_t bits) { return __popc(bits); }
#else
inline int lowest_bit(uint32_t bits) { return __builtin_ctz(bits); }
inline int count_bits(uint32_t bits) { return __builtin_popcount(bits); }
#endif

__device__ __forceinline__ int length_at(uint32_t breaks, int row) {
  return lowest_bit(breaks >> (row + 1)) + 1;
}

__global__ void find_runs_kernel(FindRunsParams p) {
  __shared__ int32_t cells[kStageBins * kBinPitch];
  __shared__ RowBits rows[kStageBins][kColumns];
  __shared__ uint32_t heads[kStageBins][kColumns];  // rows in which a run begins in this bin
  __shared__ int32_t sums[2][kThreadBins][kColumns], total[kColumns];

  const int64_t row_tiles = row_tiles_of(p.height);
  const int64_t column_groups = (p.width + kColumns - 1) / kColumns;
  const int64_t column0 = blockIdx.x % column_groups * kColumns;
  const int64_t tile = blockIdx.x / column_groups % row_tiles;
  const int64_t image = blockIdx.x / column_groups / row_tiles;
  const int first_row = static_cast<int>(tile) * kRowTile;
  const int c = threadIdx.x;
  const int thread = threadIdx.y * kColumns + c, threads = kColumns * kThreadBins;
  const int64_t column = image * p.width + column0 + c, group = column * row_tiles + tile;
  const bool is_column = column0 + c < p.width;
  Run* runs = p.runs + group * most_runs_of_group(p.bins, p.height);
  int32_t* cell_runs = p.cell_runs + image / p.cameras * p.grid;
  if (threadIdx.y == 0) total[c] = 0;

  for (int64_t bin0 = 0; bin0 < p.bins; bin0 += kStageBins) {
    const int bins = static_cast<int>(p.bins - bin0 < kStageBins ? p.bins - bin0 : kStageBins);
    __syncthreads();
#pragma unroll 4
    for (int i = thread; i < bins * kRowTile * kColumns; i += threads) {
      const int column_here = i % kColumns, row = i / kColumns % kRowTile;
      const int d = i / (kColumns * kRowTile);
      const bool exists = first_row + row < p.height && column0 + column_here < p.width;
      const int64_t line = ((image * p.bins + bin0 + d) * p.height + first_row + row) * p.width;
      cells[d * kBinPitch + row * kColumns + column_here] =
          exists ? p.cells[line + column0 + column_here] : -1;
    }
    __syncthreads();
    for (int d = threadIdx.y; d < bins; d += kThreadBins)
      rows[d][c] = row_bits(cells + d * kBinPitch + c, p.grid);
    __syncthreads();
    // A stretch that is there in the bin before, with the same rows and cell, goes on here.
    const int first_bin = threadIdx.y * kBinsOfThread;
    int32_t mine = 0;
    for (int d = first_bin; d < first_bin + kBinsOfThread && d < bins; ++d) {
      uint32_t begins = rows[d][c].begins;
      for (uint32_t bits = begins; d > 0 && bits != 0; bits &= bits - 1) {
        const int row = lowest_bit(bits);
        const int32_t* cell = cells + d * kBinPitch + row * kColumns + c;
        const bool goes_on =
            (rows[d - 1][c].begins >> row & 1u) && cell[0] == cell[-kBinPitch] &&
            length_at(rows[d][c].breaks, row) == length_at(rows[d - 1][c].breaks, row);
        if (goes_on) begins &= ~(1u << row);
      }
      heads[d][c] = begins;
      mine += count_bits(begins);
    }
    // How many runs of the column begin in earlier bins of the stage: a scan over the threads.
    sums[0][threadIdx.y][c] = mine;
    __syncthreads();
    int from = 0;
    for (int step = 1; step < kThreadBins; step *= 2, from = 1 - from) {
      const int y = threadIdx.y;
      sums[1 - from][y][c] = sums[from][y][c] + (y >= step ? sums[from][y - step][c] : 0);
      __syncthreads();
    }
    int32_t next = total[c] + sums[from][threadIdx.y][c] - mine;
    for (int d = first_bin; d < first_bin + kBinsOfThread && d < bins; ++d) {
      for (uint32_t bits = heads[d][c]; bits != 0; bits &= bits - 1) {
        const int row = lowest_bit(bits);
        int end = d + 1;
        while (end < bins && (rows[end][c].begins & ~heads[end][c]) >> row & 1u) ++end;
        const int32_t cell = cells[d * kBinPitch + row * kColumns + c];
        runs[next++] = {cell,
                        static_cast<int32_t>(column),
                        static_cast<int16_t>(bin0 + d),
                        static_cast<int16_t>(end - d),
                        static_cast<int16_t>(first_row + row),
                        static_cast<int16_t>(length_at(rows[d][c].breaks, row))};
        atomicAdd(cell_runs + cell, 1);
      }
    }
    __syncthreads();
    if (threadIdx.y == 0) total[c] += sums[from][kThreadBins - 1][c];
  }
  if (threadIdx.y == 0 && is_column) p.group_runs[group] = total[c];
}

// Puts every run's number among those of its cell, in any order.
__global__ void place_runs_kernel(SortRunsParams p) {
  const int64_t group = int64_t(blockIdx.x) * blockDim.y + threadIdx.y;
  if (group >= p.group_count) return;
  for (int32_t k = threadIdx.x; k < p.groups.counts[group]; k += blockDim.x) {
    const int64_t id = group * p.groups.room + k;
    const Run run = p.runs[id];
    const int64_t cell = run.column / p.columns_per_item * p.grid + run.cell;
    const int32_t left = atomicAdd(p.cell_runs + cell, -1);
    p.unsorted[p.cell_offsets[cell] + left - 1] = static_cast<uint32_t>(id);
  }
}

// A run's place is its rank among the numbers of its cell.
__global__ void rank_runs_kernel(SortRunsParams p) {
  const int32_t total = p.cell_offsets[p.cells];
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < total;
       i += int64_t(gridDim.x) * blockDim.x) {
    const uint32_t id = p.unsorted[i];
    const Run run = p.runs[id];
    const int64_t cell = run.column / p.columns_per_item * p.grid + run.cell;
    const int32_t first = p.cell_offsets[cell], end = p.cell_offsets[cell + 1];
    int32_t place = first;
    for (int32_t other = first; other < end; ++other) place += p.unsorted[other] < id;
    p.by_cell[place] = id;
    p.runs[id].cell = place;
  }
}

}  // namespace

void launch_find_runs(const FindRunsParams& params, cudaStream_t stream) {
  const int64_t blocks =
      params.images * row_tiles_of(params.height) * ((params.width + kColumns - 1) / kColumns);
  BEVPOOL_LAUNCH(find_runs_kernel, dim3(blocks), dim3(kColumns, kThreadBins), 0, stream, params);
}

void launch_sort_runs(const SortRunsParams& params, cudaStream_t stream) {
  const dim3 block(32, 8);
  const int64_t blocks = (params.group_count + block.y - 1) / block.y;
  BEVPOOL_LAUNCH(place_runs_kernel, dim3(blocks), block, 0, stream, params);
  const dim3 most(blocks_for(params.group_count * params.groups.room, 256, 4096));
  BEVPOOL_LAUNCH(rank_runs_kernel, most, dim3(256), 0, stream, params);
}

}  // namespace bevpool
