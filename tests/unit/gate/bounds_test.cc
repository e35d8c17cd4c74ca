// Quality bounds decided on literal reports.
#include "core/gate/bounds.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/base/status.h"
#include "core/gate/gate.h"
#include "modelpress/v1/report.pb.h"

namespace modelpress {
namespace {

using ::testing::HasSubstr;

Report MakeReport() {
  Report report;
  Judgement& judgement = *report.mutable_judgement();
  judgement.mutable_original()->set_accuracy(0.99);
  judgement.mutable_artifact()->set_accuracy(0.985);
  judgement.mutable_original()->set_bits_per_token(2);
  judgement.mutable_artifact()->set_bits_per_token(2.1);
  judgement.set_agreement(0.97);
  judgement.mutable_latency()->set_original_median_seconds(1);
  judgement.mutable_latency()->set_artifact_median_seconds(1.5);
  for (const bool first : {true, false}) {
    OutputComparison& row = *judgement.add_outputs();
    row.set_output(first ? "a" : "b");
    row.set_sqnr_db(first ? 40 : 25);
    row.set_cosine(first ? 0.9999 : 0.99);
    row.set_max_abs_error(first ? 0.1 : 0.5);
  }
  report.mutable_original()->set_file_bytes(1000);
  report.mutable_artifact()->set_file_bytes(300);
  report.mutable_original()->set_zstd_bytes(900);
  report.mutable_artifact()->set_zstd_bytes(250);
  return report;
}

QualityBound Bound(std::string_view metric, std::string_view limit, double value,
                   std::string_view output = "") {
  QualityBound bound;
  bound.set_metric(std::string(metric));
  bound.set_output(std::string(output));
  if (limit == "min") bound.set_min(value);
  if (limit == "max") bound.set_max(value);
  if (limit == "max_drop") bound.set_max_drop(value);
  if (limit == "max_relative_drop") bound.set_max_relative_drop(value);
  return bound;
}

TEST(BoundsTest, EveryMetricInItsDirection) {
  struct Case {
    QualityBound bound;
    bool passed;
    double measured, required;
  };
  const Case cases[] = {
      {Bound("accuracy", "min", 0.98), true, 0.985, 0.98},
      {Bound("accuracy", "min", 0.986), false, 0.985, 0.986},
      {Bound("accuracy", "max_drop", 0.005), true, 0.985, 0.985},  // exactly the drop, in decimal
      {Bound("accuracy", "max_drop", 0.004), false, 0.985, 0.986},
      {Bound("accuracy", "max_relative_drop", 0.006), true, 0.985, 0.99 - 0.006 * 0.99},
      {Bound("accuracy", "max_relative_drop", 0.005), false, 0.985, 0.99 - 0.005 * 0.99},
      {Bound("bits_per_token", "max_drop", 0.1), true, 2.1, 2.1},
      {Bound("bits_per_token", "max_drop", 0.05), false, 2.1, 2.05},
      {Bound("bits_per_token", "max_relative_drop", 0.06), true, 2.1, 2.12},
      {Bound("agreement", "max_drop", 0.03), true, 0.97, 0.97},
      {Bound("agreement", "min", 0.98), false, 0.97, 0.98},
      {Bound("sqnr_db", "min", 20), true, 25, 20},  // the worst output counts
      {Bound("sqnr_db", "min", 30), false, 25, 30},
      {Bound("sqnr_db", "min", 30, "a"), true, 40, 30},
      {Bound("cosine", "min", 0.995), false, 0.99, 0.995},
      {Bound("cosine", "max_drop", 0.02), true, 0.99, 0.98},
      {Bound("max_abs_error", "max", 0.4), false, 0.5, 0.4},
      {Bound("max_abs_error", "max", 0.4, "a"), true, 0.1, 0.4},
      {Bound("size_bytes", "max", 300), true, 300, 300},
      {Bound("size_bytes", "max", 299), false, 300, 299},
      {Bound("size_ratio", "max", 0.3), true, 0.3, 0.3},
      {Bound("size_ratio", "max", 0.25), false, 0.3, 0.25},
      {Bound("compressed_bytes", "max", 249), false, 250, 249},
      {Bound("latency_ratio", "max", 1.2), false, 1.5, 1.2},
      {Bound("latency_ratio", "max_drop", 0.5), true, 1.5, 1.5},
  };
  const Report report = MakeReport();
  for (const Case& c : cases) {
    const auto result = DecideBound(c.bound, report);
    SCOPED_TRACE(c.bound.ShortDebugString());
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->passed(), c.passed) << result->explanation();
    EXPECT_NEAR(result->measured(), c.measured, 1e-12);
    EXPECT_NEAR(result->required(), c.required, 1e-9);
    EXPECT_THAT(result->explanation(), HasSubstr(c.passed ? "as it must" : "but it must"));
  }
}

TEST(BoundsTest, SeveralLimitsMustAllHold) {
  QualityBound bound = Bound("accuracy", "min", 0.9);
  bound.set_max_drop(0.001);
  const BoundResult result = DecideBound(bound, MakeReport()).value();
  EXPECT_FALSE(result.passed());
  EXPECT_NEAR(result.required(), 0.989, 1e-12);
}

TEST(BoundsTest, NotANumberIsNeverGoodEnough) {
  Report report = MakeReport();
  report.mutable_judgement()->mutable_outputs(0)->set_sqnr_db(std::nan(""));
  EXPECT_FALSE(DecideBound(Bound("sqnr_db", "min", -1e300), report)->passed());
  for (OutputComparison& row : *report.mutable_judgement()->mutable_outputs()) {
    row.set_sqnr_db(std::numeric_limits<double>::infinity());
  }
  EXPECT_TRUE(DecideBound(Bound("sqnr_db", "min", 1e300), report)->passed());
}

TEST(BoundsTest, WhatWasNotMeasuredIsAskedFor) {
  for (const MetricRule& rule : MetricRules()) {
    if (rule.without_running) continue;
    const absl::Status status = DecideBound(Bound(rule.name, "min", 0), Report()).status();
    EXPECT_EQ(ReasonOf(status), ERROR_REASON_DATA_MISSING) << rule.name;
    EXPECT_TRUE(DetailOf(status).metadata().contains("remedy")) << rule.name;
  }
  EXPECT_EQ(ReasonOf(DecideBound(Bound("sqnr_db", "min", 0, "z"), MakeReport()).status()),
            ERROR_REASON_RECIPE_INVALID);
}

TEST(MissedBoundTest, ReportsTheFirst) {
  Report report = MakeReport();
  EXPECT_TRUE(MissedBound(report).ok());
  *report.add_bounds() = DecideBound(Bound("accuracy", "min", 0.5), report).value();
  EXPECT_TRUE(MissedBound(report).ok());
  *report.add_bounds() = DecideBound(Bound("sqnr_db", "min", 30), report).value();
  *report.add_bounds() = DecideBound(Bound("size_bytes", "max", 1), report).value();
  const absl::Status status = MissedBound(report);
  EXPECT_EQ(ReasonOf(status), ERROR_REASON_QUALITY_BOUND_MISSED);
  EXPECT_EQ(DetailOf(status).metadata().at("metric"), "sqnr_db");
  EXPECT_EQ(DetailOf(status).metadata().at("measured"), "25");
  EXPECT_EQ(DetailOf(status).metadata().at("bound"), "30");
}

}  // namespace
}  // namespace modelpress
