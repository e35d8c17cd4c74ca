// Where the fixtures are: see test_data.h.
#include "tests/support/test_data.h"

namespace modelpress::testing {

std::string TestDataPath(const std::string& name) {
  return std::string(MODELPRESS_TEST_DATA) + "/" + name;
}

}  // namespace modelpress::testing
