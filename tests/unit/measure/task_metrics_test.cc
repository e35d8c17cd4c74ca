// Guessing the task from shapes, and the metrics of each task on literal scores.
#include "core/measure/task_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/base/status.h"
#include "tests/unit/measure/tensors.h"

namespace modelpress {
namespace {

using testing::Floats;
using ::testing::HasSubstr;
using testing::Int64s;

Batch Labelled(Tensor labels, uint64_t samples) {
  return {.labels = std::move(labels), .samples = samples};
}

Tensor Zeros(std::vector<int64_t> dims, DataType type = DataType::kFloat) {
  std::span<std::byte> bytes;
  return Tensor::Make(type, std::move(dims), &bytes).value();
}

absl::StatusOr<TaskSettings> Resolve(const Judging& judging, std::vector<int64_t> output,
                                     std::optional<std::vector<int64_t>> labels) {
  Batch batch{.samples = output.empty() ? 1 : static_cast<uint64_t>(output[0])};
  if (labels.has_value()) batch.labels = Zeros(*labels, DataType::kInt64);
  return ResolveTask(judging, {{.name = "y"}}, {{"y", Zeros(output)}}, batch);
}

TEST(ResolveTaskTest, GuessesFromShapes) {
  struct Case {
    std::vector<int64_t> output;
    std::optional<std::vector<int64_t>> labels;
    Judging::Task task;
    int axis;
    std::string output_name;
  };
  const Case cases[] = {
      {{4, 10}, {{4}}, Judging::TASK_CLASSIFICATION, 1, "y"},
      {{4, 10}, {{4, 1}}, Judging::TASK_CLASSIFICATION, 1, "y"},
      {{10, 10}, {{10}}, Judging::TASK_CLASSIFICATION, 1, "y"},
      {{4, 10, 1, 1}, {{4}}, Judging::TASK_CLASSIFICATION, 1, "y"},
      {{1, 10}, {{1}}, Judging::TASK_CLASSIFICATION, 1, "y"},
      {{4, 5, 6, 7}, {{4, 6, 7}}, Judging::TASK_CLASSIFICATION, 1, "y"},
      {{4, 6, 7, 5}, {{4, 6, 7}}, Judging::TASK_CLASSIFICATION, 3, "y"},
      {{4, 12, 63}, {{4, 12}}, Judging::TASK_LANGUAGE_MODEL, 2, "y"},
      {{4, 63, 12}, {{4, 12}}, Judging::TASK_CLASSIFICATION, 1, "y"},
      {{4, 1}, {{4}}, Judging::TASK_BINARY, -1, "y"},
      {{4}, {{4}}, Judging::TASK_BINARY, -1, "y"},
      {{4, 1}, {{4, 1}}, Judging::TASK_BINARY, -1, "y"},
      {{4, 3}, {{4, 3}}, Judging::TASK_BINARY, -1, "y"},
      {{4, 10}, std::nullopt, Judging::TASK_NONE, 1, "y"},
      {{4, 5, 6, 7}, std::nullopt, Judging::TASK_NONE, 1, "y"},
      {{4, 12, 63}, std::nullopt, Judging::TASK_NONE, 2, "y"},
      {{4, 1, 6, 7}, std::nullopt, Judging::TASK_NONE, -1, ""},
      {{4}, std::nullopt, Judging::TASK_NONE, -1, ""},
  };
  for (const Case& c : cases) {
    const auto settings = Resolve({}, c.output, c.labels);
    SCOPED_TRACE(::testing::PrintToString(c.output));
    ASSERT_TRUE(settings.ok()) << settings.status();
    EXPECT_EQ(settings->task, c.task);
    EXPECT_EQ(settings->class_axis, c.axis);
    EXPECT_EQ(settings->output, c.output_name);
    EXPECT_FALSE(settings->description.empty());
  }
}

TEST(ResolveTaskTest, RefusesWhatDoesNotFit) {
  Judging judging;
  EXPECT_EQ(ReasonOf(Resolve(judging, {4, 10}, {{5}}).status()), ERROR_REASON_DATA_INVALID);
  judging.set_output("z");
  EXPECT_EQ(ReasonOf(Resolve(judging, {4, 10}, {{4}}).status()), ERROR_REASON_RECIPE_INVALID);
  judging.Clear();
  judging.set_class_axis(2);
  EXPECT_EQ(ReasonOf(Resolve(judging, {4, 10}, {{4}}).status()), ERROR_REASON_RECIPE_INVALID);
  judging.set_class_axis(-3);
  EXPECT_EQ(ReasonOf(Resolve(judging, {4, 10}, {{4}}).status()), ERROR_REASON_RECIPE_INVALID);
  judging.Clear();
  judging.set_task(Judging::TASK_CLASSIFICATION);
  EXPECT_EQ(ReasonOf(Resolve(judging, {4, 10}, std::nullopt).status()), ERROR_REASON_DATA_MISSING);
  judging.set_task(Judging::TASK_NONE);
  EXPECT_EQ(Resolve(judging, {4, 10}, {{5}}).value().task, Judging::TASK_NONE);
}

TEST(ResolveTaskTest, TakesTheFirstOutputThatFits) {
  const std::vector<ValueInfo> outputs = {
      {.name = "label"}, {.name = "features"}, {.name = "scores"}};
  const TensorMap values = {{"label", Zeros({4}, DataType::kInt64)},
                            {"features", Zeros({4, 7, 7})},
                            {"scores", Zeros({4, 10})}};
  const Batch batch = Labelled(Zeros({4}, DataType::kInt64), 4);
  EXPECT_EQ(ResolveTask({}, outputs, values, batch).value().output, "scores");
  const Batch targets = Labelled(Floats({4}, {0.5, 1, 2, 3}), 4);  // a regression
  EXPECT_EQ(ResolveTask({}, outputs, values, targets).value().task, Judging::TASK_NONE);
}

TEST(TaskMeterTest, AccuracyAndF1OnLiteralScores) {
  TaskMeter meter({.task = Judging::TASK_CLASSIFICATION, .output = "y", .class_axis = 1});
  // Predictions 0, 1, 1, 0 (a tie goes to the lowest); labels 0, 1, 2, 1.
  const Tensor first = Floats({2, 3}, {3, 1, 2, 0, 5, 1}),
               second = Floats({2, 3}, {0, 2, 1, 1, 1, 1});
  ASSERT_TRUE(meter.Add({{"y", first}}, Labelled(Int64s({2}, {0, 1}), 2)).ok());
  ASSERT_TRUE(meter.Add({{"y", second}}, Labelled(Int64s({2}, {2, 1}), 2)).ok());
  const TaskMetrics metrics = meter.Finish(meter.Threshold());
  EXPECT_DOUBLE_EQ(metrics.accuracy(), 0.5);
  // F1: class 0 2/3, class 1 2/4, class 2 0.
  EXPECT_DOUBLE_EQ(metrics.f1_macro(), (2.0 / 3 + 0.5 + 0) / 3);
  EXPECT_FALSE(metrics.has_f1_binary());
  EXPECT_FALSE(metrics.has_bits_per_token());
}

TEST(TaskMeterTest, ClassesOnAnInnerAxis) {
  TaskMeter meter({.task = Judging::TASK_CLASSIFICATION, .output = "y", .class_axis = 1});
  // [1, 2 classes, 3 positions]: classes 1, 0, 1.
  ASSERT_TRUE(meter
                  .Add({{"y", Floats({1, 2, 3}, {0, 5, 1, 2, 4, 3})}},
                       Labelled(Int64s({1, 3}, {1, 0, 0}), 1))
                  .ok());
  EXPECT_DOUBLE_EQ(meter.Finish(0).accuracy(), 2.0 / 3);
  EXPECT_DOUBLE_EQ(meter.Finish(0).f1_binary(), 2.0 / 3);
}

TEST(TaskMeterTest, AScoreThatIsNotANumberIsNeverRight) {
  TaskMeter meter({.task = Judging::TASK_CLASSIFICATION, .output = "y", .class_axis = 1});
  const float nan = std::nanf("");
  ASSERT_TRUE(
      meter.Add({{"y", Floats({2, 2}, {nan, nan, nan, 1})}}, Labelled(Int64s({2}, {0, 0}), 2))
          .ok());
  EXPECT_EQ(meter.Finish(0).accuracy(), 0);
}

TEST(TaskMeterTest, TheOpenThresholdFollowsTheScores) {
  const TaskSettings settings{.task = Judging::TASK_BINARY, .output = "y"};
  TaskMeter probabilities(settings), logits(settings);
  const Batch batch = Labelled(Int64s({3}, {0, 1, 1}), 3);
  ASSERT_TRUE(probabilities.Add({{"y", Floats({3, 1}, {0.4f, 0.6f, 0.7f})}}, batch).ok());
  EXPECT_EQ(probabilities.Threshold(), 0.5);
  EXPECT_EQ(probabilities.Finish(0.5).accuracy(), 1);
  EXPECT_EQ(probabilities.Finish(0.5).f1_binary(), 1);
  ASSERT_TRUE(logits.Add({{"y", Floats({3, 1}, {-0.1f, 0.2f, 3})}}, batch).ok());
  EXPECT_EQ(logits.Threshold(), 0);
  EXPECT_EQ(logits.Finish(0).accuracy(), 1);
  TaskMeter given({.task = Judging::TASK_BINARY, .output = "y", .threshold = 2});
  ASSERT_TRUE(given.Add({{"y", Floats({3, 1}, {-0.1f, 0.2f, 3})}}, batch).ok());
  EXPECT_EQ(given.Threshold(), 2);
  EXPECT_DOUBLE_EQ(given.Finish(2).accuracy(), 2.0 / 3);
}

TEST(TaskMeterTest, BitsPerTokenIgnoresPadding) {
  TaskMeter meter({.task = Judging::TASK_LANGUAGE_MODEL, .output = "y", .class_axis = 2});
  const float log3 = std::log(3.0f);
  // Softmax: (1/4, 3/4) and (1/2, 1/2); the third position is padding.
  ASSERT_TRUE(meter
                  .Add({{"y", Floats({1, 3, 2}, {0, log3, 1000, 1000, 9, 9})}},
                       Labelled(Int64s({1, 3}, {0, 1, -1}), 1))
                  .ok());
  EXPECT_NEAR(meter.Finish(0).bits_per_token(), (2 + 1) / 2.0, 1e-6);
  TaskMeter given({.task = Judging::TASK_LANGUAGE_MODEL,
                   .output = "y",
                   .class_axis = 2,
                   .probabilities = true});
  ASSERT_TRUE(given
                  .Add({{"y", Floats({1, 2, 2}, {0.25f, 0.75f, 0.5f, 0.5f})}},
                       Labelled(Int64s({1, 2}, {0, 1}), 1))
                  .ok());
  EXPECT_NEAR(given.Finish(0).bits_per_token(), 1.5, 1e-6);
}

TEST(TaskMeterTest, LabelsOutsideTheClassesNameTheSample) {
  for (const int64_t bad : {-1, 3, 1000}) {
    TaskMeter meter({.task = Judging::TASK_CLASSIFICATION, .output = "y", .class_axis = 1});
    Batch batch = Labelled(Int64s({2}, {0, bad}), 2);
    batch.first = 40;
    const absl::Status status = meter.Add({{"y", Floats({2, 3}, {0, 0, 0, 0, 0, 0})}}, batch);
    EXPECT_EQ(ReasonOf(status), ERROR_REASON_DATA_INVALID);
    EXPECT_EQ(DetailOf(status).metadata().at("sample"), "41");
  }
  TaskMeter meter({.task = Judging::TASK_CLASSIFICATION, .output = "y", .class_axis = 1});
  EXPECT_EQ(ReasonOf(meter.Add({{"y", Floats({2, 2}, {0, 0, 0, 0})}},
                               Labelled(Int64s({3}, {0, 0, 0}), 3))),
            ERROR_REASON_DATA_INVALID);
}

TEST(TaskMeterTest, OneScoreWithOtherLabelsIsARegressionUnlessTold) {
  TaskSettings settings{.task = Judging::TASK_BINARY, .output = "y", .guessed = true};
  TaskMeter guessed(settings);
  ASSERT_TRUE(
      guessed.Add({{"y", Floats({2, 1}, {0.2f, 0.9f})}}, Labelled(Int64s({2}, {0, 1}), 2)).ok());
  EXPECT_TRUE(guessed.labels_are_classes());
  ASSERT_TRUE(guessed.Add({{"y", Floats({1, 1}, {210})}}, Labelled(Int64s({1}, {216}), 1)).ok());
  EXPECT_FALSE(guessed.labels_are_classes());
  EXPECT_FALSE(guessed.Finish(0.5).has_accuracy());

  settings.guessed = false;
  TaskMeter told(settings);
  const absl::Status status =
      told.Add({{"y", Floats({1, 1}, {210})}}, Labelled(Int64s({1}, {216}), 1));
  EXPECT_EQ(ReasonOf(status), ERROR_REASON_DATA_INVALID);
}

TEST(AgreementMeterTest, CountsEqualChoices) {
  AgreementMeter meter({.output = "y", .class_axis = 1});
  ASSERT_TRUE(
      meter.Add({{"y", Floats({2, 2}, {0, 1, 1, 0})}}, {{"y", Floats({2, 2}, {0, 9, 0, 1})}}).ok());
  EXPECT_EQ(meter.Finish(), 0.5);
  EXPECT_EQ(AgreementMeter({}).Finish(), std::nullopt);
}

}  // namespace
}  // namespace modelpress
