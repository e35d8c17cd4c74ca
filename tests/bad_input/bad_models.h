// The tables of bad models, recipes and data sets.
#pragma once

#include "tests/bad_input/bad_files.h"

namespace modelpress::testing {

std::vector<BadCase> BadModelBytes();    // not even a valid message, or sizes that lie
std::vector<BadCase> BadModelGraphs();   // valid messages that are no valid model
std::vector<BadCase> BadExternalData();  // external data that must not be followed
std::vector<BadCase> BadRecipes();
std::vector<BadCase> BadData();

}  // namespace modelpress::testing
