// Every bad input ends in a typed refusal: right reason, a message, no crash, no hang, no growth, nothing left behind.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "core/base/status.h"
#include "modelpress/v1/report.pb.h"
#include "tests/bad_input/bad_models.h"

namespace modelpress::testing {
namespace {

std::vector<BadCase> AllCases() {
  std::vector<BadCase> all;
  for (auto table : {BadModelBytes, BadModelGraphs, BadExternalData, BadRecipes, BadData}) {
    for (BadCase& bad : table()) all.push_back(std::move(bad));
  }
  return all;
}

class BadInputTest : public ::testing::TestWithParam<BadCase> {};

TEST_P(BadInputTest, IsRefusedWithItsReason) {
  const JobOutcome outcome = RunBadJob(GetParam().make());
  const ErrorReason reason = outcome.error().reason();
  EXPECT_TRUE(std::ranges::contains(GetParam().reasons, reason))
      << ReasonName(reason) << ": " << outcome.error_message();
  EXPECT_FALSE(outcome.error_message().empty());
  EXPECT_EQ(outcome.files_size(), 0);
}

INSTANTIATE_TEST_SUITE_P(Table, BadInputTest, ::testing::ValuesIn(AllCases()),
                         [](const auto& info) {
                           return std::to_string(info.index) + "_" + info.param.name;
                         });

TEST(BadInputTableTest, IsLongEnoughAndTheGoodModelPasses) {
  EXPECT_GE(AllCases().size(), 80u);
  const JobOutcome outcome = RunBadJob({.model = TinyModel().SerializeAsString()});
  EXPECT_FALSE(outcome.has_error()) << outcome.error_message();
}

}  // namespace
}  // namespace modelpress::testing
