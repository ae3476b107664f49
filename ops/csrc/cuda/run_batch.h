// Runs of neighbouring image columns in shared memory, a batch at a time: what the forward and the
// context's gradient share.
#pragma once

#include "run_rows.h"
#include "vector.h"

namespace bevpool {

// The part of an image that a block takes: kColumns columns and one tile of rows.
struct BlockTile {
  int64_t image, column0;
  int first_row;
};

// `block` counts images, then row tiles, then groups of columns.
__device__ __forceinline__ BlockTile tile_of_block(int64_t block, int64_t height, int64_t width) {
  const int64_t column_groups = (width + kColumns - 1) / kColumns;
  const int64_t row_tiles = row_tiles_of(height), rest = block / column_groups;
  return {rest / row_tiles, block % column_groups * kColumns,
          static_cast<int>(rest % row_tiles) * kRowTile};
}

inline int64_t blocks_of_tiles(int64_t images, int64_t height, int64_t width) {
  return images * row_tiles_of(height) * ((width + kColumns - 1) / kColumns);
}

// Which runs of each column a block takes; in shared memory.
struct ColumnRuns {
  int64_t begin[kColumns];
  int32_t count[kColumns], most;
};

// The runs of a column can be shared among the gridDim.z blocks of a tile. Ends with a barrier.
__device__ __forceinline__ void share_runs(ColumnRuns& runs, const RunGroups& groups,
                                           const BlockTile& tile, int64_t height, int64_t width,
                                           int thread) {
  if (thread < kColumns) {
    runs.begin[thread] = 0;
    runs.count[thread] = 0;
    if (tile.column0 + thread < width) {
      const int64_t column = tile.image * width + tile.column0 + thread;
      const RunRange all =
          runs_of_group(groups, column * row_tiles_of(height) + tile.first_row / kRowTile);
      const int64_t share = (all.count + gridDim.z - 1) / gridDim.z;
      const int64_t skipped = share * blockIdx.z < all.count ? share * blockIdx.z : all.count;
      runs.begin[thread] = all.first + skipped;
      runs.count[thread] =
          static_cast<int32_t>(share < all.count - skipped ? share : all.count - skipped);
    }
  }
  __syncthreads();
  if (thread == 0) {
    runs.most = 0;
    for (int c = 0; c < kColumns; ++c)
      if (runs.count[c] > runs.most) runs.most = runs.count[c];
  }
  __syncthreads();
}

// What is said once of each run. Rows of kRuns + 1 words: neighbouring columns lie in other banks.
template <int kRuns>
struct RunHeads {
  uint32_t rows[kColumns][kRuns + 1];  // bit k is set if row k of the tile belongs to the run
  int32_t bins[kColumns][kRuns + 1];   // the first, and in the upper half how many
  int32_t cell[kColumns][kRuns + 1];
};

__device__ __forceinline__ int first_bin_of(int32_t bins) { return bins & 0xffff; }
__device__ __forceinline__ int bin_count_of(int32_t bins) { return bins >> 16; }

// Reads kRuns runs of each column, from run `done` on. `cell_of(run, column)` says what to keep as
// the run's cell. Ends with a barrier.
template <int kRuns, typename CellOf>
__device__ __forceinline__ void load_heads(RunHeads<kRuns>& heads, const ColumnRuns& block,
                                           int done, const Run* runs, int first_row, int thread,
                                           int threads, const CellOf& cell_of) {
  for (int i = thread; i < kColumns * kRuns; i += threads) {
    const int c = i / kRuns, k = i % kRuns;
    uint32_t rows = 0;
    if (done + k < block.count[c]) {
      const Run run = runs[block.begin[c] + done + k];
      rows = rows_in_tile(run, first_row);
      heads.bins[c][k] = run.first_bin | static_cast<int32_t>(run.bins) << 16;
      heads.cell[c][k] = cell_of(run, c);
    }
    heads.rows[c][k] = rows;
  }
  __syncthreads();
}

constexpr int kBatch = 32;

// The weights of a batch, [column][run][row]. A column's lie four values further apart than they
// need, so that the eight columns a warp reads at once lie in different banks.
constexpr int kColumnPitch = kBatch * kRowTile + 4;

// Depth summed over each run's bins, in every row; zero in rows outside the run. `depth` is the
// first bin of the tile's first pixel. Ends with a barrier. (All cells together are less than 2^31.)
template <typename S>
__device__ __forceinline__ void load_weights(Sum<S>* weights, const RunHeads<kBatch>& heads,
                                             int runs, const S* depth, int pixels, int width,
                                             int thread, int threads) {
  // Several reads are under way at once; the further bins that few runs have come after.
  constexpr int kAtOnce = 4, kPixels = kColumns * kRowTile;
  const int c = thread % kColumns;  // the number of threads is a multiple of the columns
  depth += c;
  weights += c * kColumnPitch;
  for (int first = thread; first < kPixels * runs; first += threads * kAtOnce) {
    Sum<S> weight[kAtOnce];
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) {
      const int i = first + j * threads, row = i / kColumns % kRowTile, k = i / kPixels;
      weight[j] = 0;
      if (k < runs && heads.rows[c][k] >> row & 1u)
        weight[j] = to_sum(depth[first_bin_of(heads.bins[c][k]) * pixels + row * width]);
    }
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) {
      const int i = first + j * threads, row = i / kColumns % kRowTile, k = i / kPixels;
      if (k >= runs) break;
      if (heads.rows[c][k] >> row & 1u) {
        const int32_t bins = heads.bins[c][k];
        for (int d = first_bin_of(bins) + 1; d < first_bin_of(bins) + bin_count_of(bins); ++d)
          weight[j] += to_sum(depth[d * pixels + row * width]);
      }
      weights[k * kRowTile + row] = weight[j];
    }
  }
  __syncthreads();
}

// How many blocks share a tile's runs: as many as it takes to fill a GPU.
inline int64_t shares_of(int64_t blocks) {
  constexpr int64_t kEnoughBlocks = 1024, kMostShares = 8;
  const int64_t wanted = (kEnoughBlocks + blocks - 1) / blocks;
  return wanted < kMostShares ? wanted : kMostShares;
}

// Vectors of channels that a block takes, at most `most`, in blocks of the same size.
inline int64_t lanes_of(int64_t vectors, int64_t most) {
  const int64_t blocks = (vectors + most - 1) / most;
  return (vectors + blocks - 1) / blocks;
}

}  // namespace bevpool
