// Where the tests' fixtures are.
#pragma once

#include <string>

namespace modelpress::testing {

// Absolute path of a file under tests/models.
std::string TestDataPath(const std::string& name);

}  // namespace modelpress::testing
