// How blocks of weights become codes of few bits: x ~ scale * (code - zero_point).
#pragma once

#include <cstdint>

namespace modelpress {

enum class BlockMethod {
  kRoundToNearest,  // range of the block
  kMseClip,         // range shrunk to the least squared error
  kKQuant,          // scale and zero point fitted by weighted least squares
  kHqq,             // zero point fitted to the least l0.7 error
  kWeightedFit,     // as kKQuant, weighted by the importance of rows alone
};

// The codes of a rule are 0 .. 2^bits - 1. They are stored in 4 bits (8 for bits = 8), so that an
// asymmetric rule of 2 or 3 bits has room to spare: its codes and zero points are stored times
// Spread(), and zero points lie on quarters or halves of a code.
struct BlockRule {
  int bits = 4;  // 2, 3, 4 or 8
  bool symmetric = true;
  BlockMethod method = BlockMethod::kRoundToNearest;

  int levels() const { return (1 << bits) - 1; }
  // The fixed zero point of a symmetric rule.
  int middle() const { return 1 << (bits - 1); }
  int spread() const { return symmetric || bits >= 4 ? 1 : 1 << (4 - bits); }
  int stored_bits() const { return bits == 8 ? 8 : 4; }
};

}  // namespace modelpress
