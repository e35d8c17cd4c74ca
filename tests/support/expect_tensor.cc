// Tensors held against others: see expect_tensor.h.
#include "tests/support/expect_tensor.h"

#include <algorithm>
#include <cmath>

#include "gtest/gtest.h"

namespace modelpress::testing {

void ExpectTensor(const Tensor& got, const Tensor& wanted, double share, double quanta) {
  EXPECT_EQ(got.type, wanted.type);
  ASSERT_EQ(got.dims, wanted.dims);
  double range = 0.01;
  for (uint64_t i = 0; i < wanted.element_count(); ++i) {
    const double value = ElementAsDouble(wanted, i);
    if (std::isfinite(value)) range = std::max(range, std::abs(value));
  }
  // Half has a step of 1 in 1024.
  if (wanted.type == DataType::kFloat16) share = 2e-3;
  const double tolerance = IsFloatingPoint(wanted.type) ? range * share : quanta;
  for (uint64_t i = 0; i < wanted.element_count(); ++i) {
    const double a = ElementAsDouble(got, i), b = ElementAsDouble(wanted, i);
    if (std::isnan(b) ? !std::isnan(a) : a != b && !(std::abs(a - b) <= tolerance)) {
      ADD_FAILURE() << "element " << i << ": " << a << ", not " << b;
      return;
    }
  }
}

}  // namespace modelpress::testing
