// A sum of doubles that does not depend on their order.
#pragma once

#include <algorithm>
#include <cmath>

namespace modelpress {

// Addends are rounded to multiples of 2^-60 and added as integers. Addends beyond 2^62 in magnitude
// count as that.
class ExactSum {
 public:
  void Add(double value) {
    units_ += static_cast<__int128>(std::ldexp(std::clamp(value, -0x1p62, 0x1p62), kBits));
  }
  double value() const { return std::ldexp(static_cast<double>(units_), -kBits); }

 private:
  static constexpr int kBits = 60;
  __int128 units_ = 0;
};

}  // namespace modelpress
