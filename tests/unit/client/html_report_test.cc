// The report as a web page: it says what was measured, and nothing from a model becomes markup.
#include "client/report/html_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"

namespace modelpress {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

v1::Report SomeReport() {
  v1::Report report;
  report.mutable_original()->set_file_bytes(4'000'000);
  report.mutable_artifact()->set_file_bytes(1'000'000);
  v1::Judgement& judgement = *report.mutable_judgement();
  judgement.set_data_source(v1::Judgement::DATA_SOURCE_CALLER);
  judgement.set_samples(200);
  judgement.mutable_original()->set_accuracy(0.98);
  judgement.mutable_artifact()->set_accuracy(0.95);
  judgement.mutable_latency()->set_runs(50);
  judgement.mutable_latency()->set_original_median_seconds(0.002);
  judgement.mutable_latency()->set_artifact_median_seconds(0.004);
  v1::PassReport& pass = *report.add_passes();
  pass.set_pass("quantize_weights");
  for (int i = 0; i < 40; ++i) {
    v1::Change& change = *pass.add_changes();
    change.set_tensor(absl::StrCat("layer", i, ".weight"));
    change.set_sqnr_db(40 - 0.5 * i);
  }
  v1::Change& sized = *pass.mutable_changes(0);
  sized.set_bytes_before(4096);
  sized.set_bytes_after(1088);
  v1::ActivationGrid& grid = *sized.mutable_activations();
  grid.set_min(-1);
  grid.set_max(1);
  grid.set_clipped_share(0.125);
  v1::ValueHistogram& histogram = *grid.mutable_histogram();
  histogram.set_low(-2);
  histogram.set_high(2);
  for (const int count : {1, 100, 90, 2}) histogram.add_counts(count);
  v1::TuneTrial& trial = *pass.add_trail();
  trial.set_steps("{quantize_weights: {}}");
  trial.set_agreement(0.875);
  v1::TrainingRun& training = *pass.add_trainings();
  training.set_name("finetune<1>");
  training.set_steps(200);
  training.set_best_step(100);
  for (const int step : {0, 100, 200}) {
    v1::TrainingPoint& point = *training.add_points();
    point.set_step(step);
    point.set_validation_loss(step == 100 ? 0.125 : 0.5);
    point.set_accuracy(0.75);
  }
  v1::Skip& skip = *pass.add_skips();
  skip.set_tensor("tiny.bias");
  skip.set_reason("too_small");
  v1::BoundResult& bound = *report.add_bounds();
  bound.set_explanation("accuracy is 0.95, below 0.97");
  return report;
}

TEST(HtmlReportTest, SaysWhatWasMeasuredGoodAndBad) {
  const std::string page = RenderHtmlReport(SomeReport());
  for (const char* part :
       {"4.00x smaller", "95.00 %", "-3.00 points", "2.00x slower",
        "MISSED: accuracy is 0.95, below 0.97", "worst is layer39.weight, 20.5 dB",
        "15 better layers", "1 left alone: too_small", "tiny.bias", "200 samples"}) {
    EXPECT_THAT(page, HasSubstr(part));
  }
  // Every layer, also those that are folded up.
  EXPECT_THAT(page, HasSubstr("layer0.weight"));
}

TEST(HtmlReportTest, DrawsSizesAndRangesAndTheTrail) {
  const std::string page = RenderHtmlReport(SomeReport());
  for (const char* part : {"Size by layer", "4.0 KiB", "1.1 KiB", "-1 to 1 of -2 to 2",
                           "12.50 % clipped", "What was tried", "87.50 %", "misses a bound"}) {
    EXPECT_THAT(page, HasSubstr(part));
  }
  for (const char* part : {"Loss by step", "finetune&lt;1&gt;: 200 steps", "0.1250", "kept"}) {
    EXPECT_THAT(page, HasSubstr(part));
  }
  // The validation loss of 0.5, 0.125 and 0.5 from step 0 to the last.
  EXPECT_THAT(page, HasSubstr("points=\"0.00,2.00 150.00,53.00 300.00,2.00 \""));
  // Four bins, the outer two outside of the range.
  EXPECT_THAT(page, HasSubstr("<rect class=\"out\" x=\"0.00\""));
  EXPECT_THAT(page, HasSubstr("<rect class=\"in\" x=\"75.00\""));
  EXPECT_THAT(page, HasSubstr("<rect class=\"in\" x=\"150.00\""));
  EXPECT_THAT(page, HasSubstr("<rect class=\"out\" x=\"225.00\""));
}

TEST(HtmlReportTest, DrawsStudentsBySize) {
  v1::Report report = SomeReport();
  v1::PassReport& pass = *report.add_passes();
  pass.set_pass("distill");
  const auto add = [&](v1::Student::Kind kind, uint64_t parameters, double before, double after) {
    v1::Student& student = *pass.add_students();
    student.set_kind(kind);
    student.set_parameters(parameters);
    for (const double value : {before, after}) {
      if (value == 0) continue;
      v1::MetricEstimate& estimate = value == after ? *student.add_after() : *student.add_before();
      estimate.set_metric("accuracy");
      estimate.set_value(value);
      estimate.set_low(value - 0.02);
      estimate.set_high(value + 0.01);
      estimate.set_required(0.95);
    }
    return &student;
  };
  add(v1::Student::KIND_TEACHER, 2'000'000, 0, 0.985);
  v1::Student& chosen = *add(v1::Student::KIND_NARROWED, 30'000, 0.9, 0.971);
  chosen.set_training(0);
  chosen.set_holds(true);
  chosen.set_chosen(true);
  v1::Student& small = *add(v1::Student::KIND_NARROWED, 20'000, 0.8, 0.94);
  small.set_training(1);
  small.set_why("accuracy is <0.94>");
  const std::string page = RenderHtmlReport(report);
  for (const char* part :
       {"<h3>Students</h3>", "97.10 % (95.10 to 98.10)", "CHOSEN", "30,000", "the original",
        "accuracy is &lt;0.94&gt;", "2,000,000 parameters</text>", ">0.95</text>"}) {
    EXPECT_THAT(page, HasSubstr(part));
  }
  // The teacher, and two students before and after training.
  size_t circles = 0;
  for (size_t at = 0; (at = page.find("<circle", at)) != std::string::npos; ++at) ++circles;
  EXPECT_EQ(circles, 5u);
  EXPECT_THAT(page, HasSubstr("r=\"7\""));
}

TEST(HtmlReportTest, SyntheticDataAndNoRunAreSaid) {
  v1::Report report = SomeReport();
  report.mutable_judgement()->set_data_source(v1::Judgement::DATA_SOURCE_SYNTHETIC);
  EXPECT_THAT(RenderHtmlReport(report), HasSubstr("synthetic samples"));
  EXPECT_THAT(RenderHtmlReport(v1::Report()), HasSubstr("nothing was run"));
}

TEST(HtmlReportTest, FetchesNothingAndRunsNothing) {
  const std::string page = RenderHtmlReport(SomeReport());
  for (const char* part :
       {"<script", "src=", "href=", "http:", "https:", "url(", "@import", "<link", "<img"}) {
    EXPECT_THAT(page, Not(HasSubstr(part)));
  }
}

TEST(HtmlReportTest, NamesOfAModelNeverBecomeMarkup) {
  const std::string evil = "<script>alert('x')</script>\" onload=\"y\x01\xff";
  v1::Report report = SomeReport();
  report.add_notes(evil);
  report.add_bounds()->set_explanation(evil);
  report.mutable_judgement()->set_task(evil);
  report.mutable_judgement()->add_outputs()->set_output(evil);
  v1::PassReport& pass = *report.mutable_passes(0);
  pass.add_notes(evil);
  pass.mutable_changes(0)->set_tensor(evil);
  pass.mutable_changes(1)->set_node(evil);
  pass.mutable_changes(2)->set_what(evil);
  pass.mutable_changes(0)->set_node(evil);
  pass.mutable_trail(0)->set_steps(evil);
  pass.mutable_trail(0)->set_why(evil);
  pass.mutable_skips(0)->set_detail(evil);
  pass.mutable_skips(0)->set_reason(evil);
  const std::string page = RenderHtmlReport(report);
  EXPECT_THAT(page, Not(HasSubstr("<script")));
  EXPECT_THAT(page, Not(HasSubstr("\" onload")));
  EXPECT_THAT(page, Not(HasSubstr("\x01")));
}

}  // namespace
}  // namespace modelpress
