// Finds the runs of an image column: compiled once per instruction set.
#include "kernels.h"

#include <cstring>

#include "vec.h"

namespace bevpool {

int64_t BEVPOOL_NAMED(find_runs)(const FindRunsArgs& a, Run* runs);

namespace {

// Rows that one machine word has bits for. Runs of taller images end at its multiples.
constexpr int64_t kWordRows = 64;

struct RowBits {
  uint64_t inside;       // the row's cell is in the grid
  uint64_t as_above;     // and is the cell of the row above
};

BEVPOOL_INLINE RowBits row_bits(const int32_t* cells, int64_t rows, uint32_t grid) {
  RowBits bits{0, 0};
  for (int64_t h = 0; h < rows; h += VectorOf<float>::lanes) {
    const VecI32 here = load_ints(cells + h), above = load_ints(cells + h - 1);
    bits.inside |= lane_bits(bit_cast<VecU32>(here) < grid) << h;
    bits.as_above |= lane_bits(here == above) << h;
  }
  const uint64_t used = rows < kWordRows ? (uint64_t{1} << rows) - 1 : ~uint64_t{0};
  bits.inside &= used;
  bits.as_above &= bits.inside & ~uint64_t{1};
  return bits;
}

// The runs within `rows` rows from `first_row` of all bins.
int64_t find_runs_of_rows(const FindRunsArgs& a, int64_t first_row, int64_t rows, Run* runs) {
  int64_t count = 0;
  int64_t latest[kWordRows];  // the run that started last in each row
  for (int64_t h = 0; h < rows; ++h) latest[h] = -1;
  for (int64_t d = 0; d < a.bins; ++d) {
    const int32_t* cells = a.packed_cells + d * a.height + first_row;
    const RowBits bits = row_bits(cells, rows, static_cast<uint32_t>(a.grid));
    const uint64_t ends = ~bits.as_above;
    for (uint64_t starts = bits.inside & ~bits.as_above; starts != 0; starts &= starts - 1) {
      const int h = __builtin_ctzll(starts);
      const uint64_t ends_below = h + 1 < kWordRows ? ends >> (h + 1) : 1;
      const int length = ends_below != 0 ? 1 + __builtin_ctzll(ends_below) : kWordRows - h;
      // The same rows of the same cell one bin nearer: that run grows by this bin.
      if (latest[h] >= 0) {
        Run& run = runs[latest[h]];
        if (run.first_bin + run.bins == d && run.rows == length && run.cell == cells[h]) {
          ++run.bins;
          continue;
        }
      }
      latest[h] = count;
      runs[count++] = {cells[h], a.column, static_cast<int16_t>(d), 1,
                       static_cast<int16_t>(first_row + h), static_cast<int16_t>(length)};
    }
  }
  return count;
}

}  // namespace

int64_t BEVPOOL_NAMED(find_runs)(const FindRunsArgs& a, Run* runs) {
  int64_t count = 0;
  for (int64_t row = 0; row < a.height; row += kWordRows) {
    const int64_t rows = a.height - row < kWordRows ? a.height - row : kWordRows;
    count += find_runs_of_rows(a, row, rows, runs + count);
  }
  return count;
}

}  // namespace bevpool
