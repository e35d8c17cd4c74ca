// Typed errors: codes, payloads and their way through a process boundary.
#include "core/base/status.h"

#include <gtest/gtest.h>

#include <set>

namespace modelpress {
namespace {

TEST(StatusTest, EveryReasonHasAnErrorCodeAndAUniqueName) {
  std::set<std::string_view> names;
  const auto* values = ErrorReason_descriptor();
  for (int i = 0; i < values->value_count(); ++i) {
    const auto reason = static_cast<ErrorReason>(values->value(i)->number());
    EXPECT_NE(CodeOf(reason), absl::StatusCode::kOk) << ReasonName(reason);
    EXPECT_TRUE(names.insert(ReasonName(reason)).second);
    EXPECT_FALSE(ReasonName(reason).starts_with("ERROR_REASON"));
  }
}

TEST(StatusTest, CarriesFactsAndAppendsTheRemedy) {
  const absl::Status status = Error(ERROR_REASON_MODEL_MALFORMED, "too short")
                                  .Node("conv1")
                                  .Tensor("w")
                                  .Remedy("export it again");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "too short; export it again");
  const ErrorDetail detail = DetailOf(status);
  EXPECT_EQ(detail.reason(), ERROR_REASON_MODEL_MALFORMED);
  EXPECT_EQ(detail.metadata().at("node"), "conv1");
  EXPECT_EQ(detail.metadata().at("tensor"), "w");
  EXPECT_EQ(StatusFromDetail(detail, std::string(status.message())), status);
}

TEST(StatusTest, AStatusOfALibraryCountsAsADefect) {
  EXPECT_EQ(ReasonOf(absl::NotFoundError("x")), ERROR_REASON_INTERNAL_BUG);
  EXPECT_EQ(ReasonOf(absl::OkStatus()), ERROR_REASON_UNSPECIFIED);
}

TEST(StatusTest, AnnotateKeepsWhatIsThere) {
  const absl::Status inner = Error(ERROR_REASON_DATA_INVALID, "bad").With("input", "x");
  EXPECT_EQ(DetailOf(Annotate(inner, "input", "y")).metadata().at("input"), "x");
  EXPECT_EQ(DetailOf(Annotate(inner, "sample", "3")).metadata().at("sample"), "3");
}

}  // namespace
}  // namespace modelpress
