// distill from end to end on small nets: students that are made and given, what is refused, what a failure leaves.
#include <cmath>
#include <set>

#include "core/base/format_string.h"
#include "core/model/graph.h"
#include "core/recipe/recipe_reader.h"
#include "gmock/gmock.h"
#include "tests/unit/data/data_builders.h"
#include "tests/unit/passes/run_pass.h"

namespace modelpress::testing {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

constexpr int kInputs = 12, kHidden = 24, kClasses = 5;

// A net of two layers with random weights; any number of samples. Many of its neurons are nearly alike, so that a narrower
// one can do the same.
Model Teacher(int hidden = kHidden, int classes = kClasses, std::string_view input = "x") {
  onnx::ModelProto proto = ParseProto(
      "<ir_version: 8, opset_import: [\"\" : 17]> g (float[N, 12] " + std::string(input) +
      ") => (float[N, " + std::to_string(classes) + "] y) { a = Gemm(" + std::string(input) +
      ", w1, b1) r = Relu(a) h = MatMul(r, w2) y = Add(h, b2) }");
  std::mt19937 random(3);
  std::vector<float> w1 = RandomFloats(random, static_cast<size_t>(kInputs * hidden));
  for (int k = 0; k < kInputs; ++k) {
    for (int n = 0; n < hidden; ++n) {
      if (n % 4 != 0) w1[k * hidden + n] = w1[k * hidden + n - n % 4] + 0.1f * w1[k * hidden + n];
    }
  }
  AddInitializer(proto, "w1", {kInputs, hidden}, w1);
  AddInitializer(proto, "b1", {hidden}, RandomFloats(random, static_cast<size_t>(hidden)));
  AddInitializer(proto, "w2", {hidden, classes},
                 RandomFloats(random, static_cast<size_t>(hidden * classes)));
  AddInitializer(proto, "b2", {classes}, RandomFloats(random, static_cast<size_t>(classes)));
  return *ReadModel(proto);
}

// What the model decides for these samples.
std::vector<int64_t> Decisions(const Model& model, const std::vector<float>& samples) {
  const auto session = Session::Create(model, {});
  TensorMap inputs;
  const auto count = static_cast<int64_t>(samples.size()) / kInputs;
  inputs["x"] = FloatTensor({count, kInputs}, samples);
  const TensorMap outputs = *(*session)->Run(inputs);
  const Tensor& y = outputs.at("y");
  std::vector<int64_t> classes;
  for (int64_t i = 0; i < count; ++i) {
    const auto row =
        y.as<float>().subspan(static_cast<size_t>(i * y.dims[1]), static_cast<size_t>(y.dims[1]));
    classes.push_back(std::ranges::max_element(row) - row.begin());
  }
  return classes;
}

// Unlabelled samples, and labelled ones that the teacher is right about.
void WriteSamples(DataFolder& folder, int labelled, int unlabelled) {
  std::mt19937 random(5);
  const Model teacher = Teacher();
  if (unlabelled > 0) {
    folder.Write("unlabeled/x.npy",
                 FloatNpy({unlabelled, kInputs},
                          RandomFloats(random, static_cast<size_t>(unlabelled * kInputs))));
  }
  for (const char* split : {"train", "val"}) {
    if (labelled == 0) continue;
    const auto samples = RandomFloats(random, static_cast<size_t>(labelled * kInputs));
    folder.Write(std::string(split) + "/x.npy", FloatNpy({labelled, kInputs}, samples));
    folder.Write(std::string(split) + "/labels.npy",
                 Int64Npy({labelled}, Decisions(teacher, samples)));
  }
}

struct Distilled {
  absl::StatusOr<PassReport> report;
  PassReport so_far;
  Model model;
};

struct With {
  Model teacher = Teacher();
  const Model* student = nullptr;
  std::string recipe;
  std::function<void(double, std::string_view)> progress;
};

Distilled RunDistill(const std::string& options, TestJob& job, WeightArena& arena,
                     const DataSet* data, const With& with = {}) {
  PassStep step;
  const absl::Status parsed = ReadYaml(options, &step);
  EXPECT_TRUE(parsed.ok()) << parsed;
  Recipe recipe;
  if (!with.recipe.empty()) {
    EXPECT_TRUE(ReadYaml(with.recipe, &recipe).ok());
  }
  const Pass* pass = PassRegistry::Get().Find("distill");
  EXPECT_TRUE(pass->Validate(step).ok()) << pass->Validate(step);
  Distilled run{absl::UnknownError(""), {}, with.teacher.Clone()};
  PassContext context;
  context.job = &job.context();
  context.original = &with.teacher;
  context.student = with.student;
  context.recipe = &recipe;
  context.data = data;
  context.arena = &arena;
  context.seed = 1;
  context.so_far = &run.so_far;
  context.progress = with.progress;
  run.report = pass->Run(run.model, step, context);
  return run;
}

std::string Bytes(const Model& model) {
  std::string bytes = model.proto().SerializeAsString();
  ForEachTensor(model.proto(), [&](const onnx::TensorProto& tensor) {
    const auto found = model.Bytes(tensor);
    if (found.ok()) bytes.append(reinterpret_cast<const char*>(found->data()), found->size());
  });
  return bytes;
}

// The data set with its folder.
struct Data {
  explicit Data(int labelled, int unlabelled) {
    WriteSamples(folder, labelled, unlabelled);
    set = *DataSet::Open(folder.path(), folder.scratch());
  }
  DataFolder folder;
  std::unique_ptr<DataSet> set;
};

constexpr char kShort[] = "training: {steps: 100, learning_rate: 0.01}";

TEST(DistillTest, TheSmallestStudentThatHolds) {
  const Data data(200, 600);
  std::string first;
  for (int again = 0; again < 2; ++again) {
    TestJob job;
    WeightArena arena(&job.scratch());
    int students_seen = 0;
    With with;
    with.recipe = "quality: [{metric: accuracy, min: 0.8}, {metric: size_ratio, max: 0.9}]";
    with.progress = [&](double fraction, std::string_view detail) {
      EXPECT_GE(fraction, 0);
      EXPECT_LE(fraction, 1);
      students_seen += detail.find("width") != std::string_view::npos;
    };
    const Distilled run = RunDistill(std::string("distill: {") + kShort + ", control: true}", job,
                                     arena, data.set.get(), with);
    ASSERT_TRUE(run.report.ok()) << run.report.status();
    const auto& students = run.report->students();
    ASSERT_GE(students.size(), 4);
    EXPECT_EQ(students[0].kind(), Student::KIND_TEACHER);
    EXPECT_EQ(students[0].after(0).value(), 1);
    const Student* chosen = nullptr;
    uint64_t smallest = students[0].parameters();
    for (const Student& student : students) {
      if (student.kind() != Student::KIND_NARROWED) continue;
      ASSERT_EQ(student.after(0).metric(), "accuracy");
      EXPECT_EQ(student.after(0).labelled_samples(), 200u);
      EXPECT_EQ(student.after(0).unlabelled_samples(), 300u);
      EXPECT_LT(student.after(0).low(), student.after(0).value());
      EXPECT_EQ(student.holds(), student.after(0).low() >= 0.8) << student.why();
      if (student.holds()) smallest = std::min(smallest, student.parameters());
      if (student.chosen()) chosen = &student;
    }
    ASSERT_NE(chosen, nullptr);
    EXPECT_EQ(chosen->parameters(), smallest);
    EXPECT_TRUE(chosen->holds());
    EXPECT_TRUE(chosen->has_training());
    EXPECT_EQ(students[students.size() - 1].kind(), Student::KIND_CONTROL);
    EXPECT_GT(students_seen, 0);
    // The model is what the row says, and still fits into the teacher's place.
    uint64_t elements = 0;
    for (const auto& tensor : run.model.proto().graph().initializer()) {
      elements += ElementCount(Dims(tensor)).value();
    }
    EXPECT_EQ(elements, chosen->parameters());
    std::mt19937 random(17);
    const auto fresh = RandomFloats(random, 400 * kInputs);
    const auto x = Decisions(with.teacher, fresh), y = Decisions(run.model, fresh);
    int same = 0;
    for (size_t i = 0; i < x.size(); ++i) same += x[i] == y[i];
    EXPECT_GT(same, 400 * 0.75);
    EXPECT_EQ(run.so_far.students_size(), students.size());
    if (first.empty()) first = Bytes(run.model);
    EXPECT_TRUE(first == Bytes(run.model)) << "another run gives other bytes";
  }
}

TEST(DistillTest, OneStudentOfAWidth) {
  const Data data(0, 500);
  TestJob job;
  WeightArena arena(&job.scratch());
  const Distilled run = RunDistill(
      std::string("distill: {width: 0.5, bounds: [{metric: agreement, min: 0.6}], ") + kShort + "}",
      job, arena, data.set.get());
  ASSERT_TRUE(run.report.ok()) << run.report.status();
  ASSERT_EQ(run.report->students_size(), 2);
  EXPECT_EQ(run.report->students(1).parameters(), 12u * 12 + 12 + 12 * 5 + 5);
  EXPECT_EQ(run.report->students(0).macs(), 12 * 24 + 24 * 5);
  EXPECT_EQ(run.report->students(1).macs(), 12 * 12 + 12 * 5);
  EXPECT_EQ(run.report->trainings_size(), 1);
  EXPECT_EQ(run.report->students(1).after(0).unlabelled_samples(), 250u);
}

TEST(DistillTest, WithoutABoundAStudentOfAToldWidthIsTakenAsItComes) {
  const Data data(0, 500);
  TestJob job;
  WeightArena arena(&job.scratch());
  const Distilled run = RunDistill("distill: {width: 0.1, training: {steps: 1, batch_size: 1}}",
                                   job, arena, data.set.get());
  ASSERT_TRUE(run.report.ok()) << run.report.status();
  ASSERT_EQ(run.report->students_size(), 2);
  EXPECT_FALSE(run.report->students(1).after(0).has_required());
  EXPECT_THAT(run.report->notes(), Contains(HasSubstr("no bound was given")));
}

TEST(DistillTest, WithoutClassesAndBoundsThereIsStillSomethingToTell) {
  const Data data(0, 300);
  TestJob job;
  WeightArena arena(&job.scratch());
  With with;
  with.teacher = Teacher(kHidden, 1);
  const Distilled run = RunDistill("distill: {width: 0.5, control: true, training: {steps: 5}}",
                                   job, arena, data.set.get(), with);
  ASSERT_TRUE(run.report.ok()) << run.report.status();
  ASSERT_EQ(run.report->students_size(), 2);
  ASSERT_EQ(run.report->students(1).after_size(), 1);
  EXPECT_EQ(run.report->students(1).after(0).metric(), "sqnr_db");
  EXPECT_THAT(run.report->notes(), Contains(HasSubstr("no control run")));
}

TEST(DistillTest, ANearMissIsTrainedOnceMore) {
  const Data data(0, 500);
  const auto with_bound = [&](double bound, TestJob& job, WeightArena& arena) {
    return RunDistill(
        FormatString("distill: {{width: 0.3, keep_best: true, bounds: [{{metric: agreement, min: "
                     "{:.17g}}}], training: {{steps: 20, learning_rate: 0.001}}}}",
                     bound),
        job, arena, data.set.get());
  };
  TestJob job;
  WeightArena arena(&job.scratch());
  const Distilled first = with_bound(1, job, arena);
  ASSERT_TRUE(first.report.ok()) << first.report.status();
  ASSERT_EQ(first.report->trainings_size(), 1);
  const MetricEstimate& once = first.report->students(1).after(0);
  ASSERT_LT(once.value(), 1);
  const Distilled second = with_bound(once.value(), job, arena);
  ASSERT_TRUE(second.report.ok()) << second.report.status();
  EXPECT_EQ(second.report->trainings_size(), 2);
  EXPECT_THAT(second.report->trainings(1).name(), HasSubstr("once more"));
  EXPECT_GE(second.report->students(1).after(0).low(), once.low());
}

TEST(DistillTest, AMissLeavesTheCurveAndTheBestOneCanBeKept) {
  const Data data(0, 400);
  TestJob job;
  WeightArena arena(&job.scratch());
  const std::string options =
      std::string("bounds: [{metric: sqnr_db, min: 60}], max_students: 2, ") + kShort;
  const Distilled missed = RunDistill("distill: {" + options + "}", job, arena, data.set.get());
  EXPECT_EQ(ReasonOf(missed.report.status()), ERROR_REASON_QUALITY_BOUND_MISSED)
      << missed.report.status();
  EXPECT_EQ(DetailOf(missed.report.status()).metadata().at("metric"), "sqnr_db");
  EXPECT_EQ(missed.so_far.students_size(), 3);
  EXPECT_EQ(missed.so_far.trainings_size(), 2);
  const Distilled kept =
      RunDistill("distill: {keep_best: true, " + options + "}", job, arena, data.set.get());
  ASSERT_TRUE(kept.report.ok()) << kept.report.status();
  int chosen = 0;
  for (const Student& student : kept.report->students()) {
    chosen += student.chosen();
    EXPECT_FALSE(student.chosen() && student.holds());
  }
  EXPECT_EQ(chosen, 1);
  EXPECT_THAT(kept.report->notes(), Contains(HasSubstr("NO STUDENT MEETS")));
}

TEST(DistillTest, AStudentOfTheCaller) {
  const Data data(0, 600);
  const Model small = Teacher(10);
  With with;
  with.student = &small;
  TestJob job;
  WeightArena arena(&job.scratch());
  const std::string options =
      "distill: {bounds: [{metric: agreement, min: 0.5}], training: {steps: 600, learning_rate: "
      "0.02}}";
  const Distilled run = RunDistill(options, job, arena, data.set.get(), with);
  ASSERT_TRUE(run.report.ok()) << run.report.status();
  ASSERT_EQ(run.report->students_size(), 2);
  const Student& student = run.report->students(1);
  EXPECT_EQ(student.kind(), Student::KIND_GIVEN);
  EXPECT_EQ(student.parameters(), 12u * 10 + 10 + 10 * 5 + 5);
  EXPECT_GT(student.after(0).value(), student.before(0).value());
  EXPECT_EQ(FindInitializer(run.model, "w1")->dims(1), 10);

  const Model classes = Teacher(10, kClasses + 1), inputs = Teacher(10, kClasses, "z");
  for (const auto& [other, name] : {std::pair{&classes, "'y'"}, {&inputs, "'x'"}}) {
    with.student = other;
    const Distilled refused = RunDistill(options, job, arena, data.set.get(), with);
    EXPECT_EQ(ReasonOf(refused.report.status()), ERROR_REASON_RECIPE_INVALID);
    EXPECT_THAT(std::string(refused.report.status().message()), HasSubstr(name));
  }
  with.student = &small;
  const Distilled both = RunDistill("distill: {width: 0.5}", job, arena, data.set.get(), with);
  EXPECT_EQ(ReasonOf(both.report.status()), ERROR_REASON_RECIPE_INVALID);
}

TEST(DistillTest, WhatCannotBeJudgedIsRefused) {
  TestJob job;
  WeightArena arena(&job.scratch());
  const Data unlabelled(0, 300);
  const Distilled labels = RunDistill("distill: {bounds: [{metric: accuracy, min: 0.5}]}", job,
                                      arena, unlabelled.set.get());
  EXPECT_EQ(ReasonOf(labels.report.status()), ERROR_REASON_DATA_MISSING);
  EXPECT_THAT(std::string(labels.report.status().message()), HasSubstr("no held-out sample"));
  const Data one(0, 1);
  EXPECT_EQ(ReasonOf(RunDistill("distill: {}", job, arena, one.set.get()).report.status()),
            ERROR_REASON_DATA_MISSING);
  // Eight labels, all right, promise no 99 %: not even of the original.
  const Data few(8, 200);
  const Distilled hopeless =
      RunDistill("distill: {bounds: [{metric: accuracy, min: 0.99}]}", job, arena, few.set.get());
  EXPECT_EQ(ReasonOf(hopeless.report.status()), ERROR_REASON_QUALITY_BOUND_MISSED);
  EXPECT_THAT(std::string(hopeless.report.status().message()), HasSubstr("the original itself"));
  EXPECT_EQ(hopeless.so_far.students_size(), 1);
  EXPECT_TRUE(hopeless.so_far.trainings().empty());
  // A label that is no class.
  Data wrong(20, 200);
  wrong.folder.Write("val/labels.npy", Int64Npy({20}, std::vector<int64_t>(20, 7)));
  wrong.set = *DataSet::Open(wrong.folder.path(), wrong.folder.scratch());
  EXPECT_EQ(ReasonOf(RunDistill("distill: {}", job, arena, wrong.set.get()).report.status()),
            ERROR_REASON_DATA_INVALID);
}

TEST(DistillTest, EmbeddingsAreTrainedAndJudgedByTheirDirection) {
  const Data data(0, 600);
  const auto distill = [&](const std::string& options, TestJob& job, WeightArena& arena) {
    return RunDistill("distill: {" + options +
                          "training: {steps: 100, learning_rate: 0.01, outputs: [{output: y, kind: "
                          "embedding}]}}",
                      job, arena, data.set.get());
  };
  TestJob job;
  WeightArena arena(&job.scratch());
  const Distilled run = distill("width: 0.4, ", job, arena);
  ASSERT_TRUE(run.report.ok()) << run.report.status();
  const Student& student = run.report->students(1);
  // No class of the largest number.
  ASSERT_EQ(student.after_size(), 1);
  EXPECT_EQ(student.after(0).metric(), "cosine");
  EXPECT_GT(student.after(0).value(), student.before(0).value());
  EXPECT_LE(student.after(0).high(), 1);
  EXPECT_FALSE(run.report->trainings(0).points(0).has_agreement());
  EXPECT_THAT(run.report->notes(), Contains(HasSubstr("'y' holds an embedding")));
  // The mean over new samples of the cosine, computed anew.
  std::mt19937 random(23);
  const auto fresh = RandomFloats(random, 500 * kInputs);
  const auto outputs = [&](const Model& model) {
    TensorMap inputs;
    inputs["x"] = FloatTensor({500, kInputs}, fresh);
    return *(*Session::Create(model, {}))->Run(inputs);
  };
  const TensorMap teachers = outputs(Teacher()), students = outputs(run.model);
  const auto x = teachers.at("y").as<float>(), y = students.at("y").as<float>();
  double mean = 0;
  for (size_t i = 0; i < x.size(); i += kClasses) {
    double dot = 0, a = 0, b = 0;
    for (size_t k = i; k < i + kClasses; ++k) {
      dot += static_cast<double>(x[k]) * y[k];
      a += static_cast<double>(x[k]) * x[k];
      b += static_cast<double>(y[k]) * y[k];
    }
    mean += dot / std::sqrt(a * b) / 500;
  }
  EXPECT_NEAR(mean, student.after(0).value(), 0.03);
  // Of a search the requirement is a cosine by itself.
  const Distilled search = distill("max_students: 2, keep_best: true, ", job, arena);
  ASSERT_TRUE(search.report.ok()) << search.report.status();
  EXPECT_EQ(search.report->students(0).after(0).required(), 0.98);
  const Distilled agreement =
      distill("width: 0.4, bounds: [{metric: agreement, min: 0.5}], ", job, arena);
  EXPECT_EQ(ReasonOf(agreement.report.status()), ERROR_REASON_DATA_MISSING);
  const Distilled plain = RunDistill("distill: {width: 0.4, bounds: [{metric: cosine, min: 0.5}]}",
                                     job, arena, data.set.get());
  EXPECT_EQ(ReasonOf(plain.report.status()), ERROR_REASON_DATA_MISSING);
  EXPECT_THAT(std::string(plain.report.status().message()), HasSubstr("embedding"));
}

// Five questions a sample, with yes or no as the teacher says; a few are not answered.
TEST(DistillTest, SeveralYesOrNo) {
  DataFolder folder;
  std::mt19937 random(31);
  const Model teacher = Teacher();
  for (const auto& [split, count] : {std::pair{"train", 300}, {"val", 200}}) {
    const auto samples = RandomFloats(random, static_cast<size_t>(count * kInputs));
    TensorMap inputs;
    inputs["x"] = FloatTensor({count, kInputs}, samples);
    const TensorMap outputs = *(*Session::Create(teacher, {}))->Run(inputs);
    std::vector<int64_t> labels;
    for (const float score : outputs.at("y").as<float>()) labels.push_back(score > 0);
    labels[7] = -1;
    folder.Write(std::string(split) + "/x.npy", FloatNpy({count, kInputs}, samples));
    folder.Write(std::string(split) + "/labels.npy", Int64Npy({count, kClasses}, labels));
  }
  const auto set = *DataSet::Open(folder.path(), folder.scratch());
  for (const char* outputs : {"", ", outputs: [{kind: binary}]"}) {
    TestJob job;
    WeightArena arena(&job.scratch());
    const Distilled run = RunDistill(
        FormatString("distill: {{width: 0.4, control: true, bounds: [{{metric: accuracy, min: "
                     "0.6}}, {{metric: f1_binary, min: 0.5}}], training: {{steps: 200, "
                     "learning_rate: 0.01{}}}}}",
                     outputs),
        job, arena, set.get());
    ASSERT_TRUE(run.report.ok()) << run.report.status();
    const Student& original = run.report->students(0);
    EXPECT_EQ(original.after(0).value(), 1);
    const Student& student = run.report->students(1);
    EXPECT_GT(student.after(0).value(), student.before(0).value());
    EXPECT_EQ(student.after(0).labelled_samples(), 200u);
    EXPECT_TRUE(run.report->trainings(0).points(0).has_accuracy());
    EXPECT_THAT(run.report->notes(), Contains(HasSubstr("the same net has")));
  }
}

TEST(DistillTest, LabelsThatAreNumbersAreNoClasses) {
  Data data(200, 300);
  std::vector<int64_t> numbers(200);
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<int64_t>(i % 7);
  for (const char* split : {"train", "val"}) {
    data.folder.Write(std::string(split) + "/labels.npy", Int64Npy({200}, numbers));
  }
  data.set = *DataSet::Open(data.folder.path(), data.folder.scratch());
  TestJob job;
  WeightArena arena(&job.scratch());
  With with;
  with.teacher = Teacher(kHidden, 1);
  for (const char* outputs : {"", ", outputs: [{output: y, kind: values}]"}) {
    const Distilled run =
        RunDistill(FormatString("distill: {{width: 0.5, training: {{steps: 20{}}}}}", outputs), job,
                   arena, data.set.get(), with);
    ASSERT_TRUE(run.report.ok()) << run.report.status();
    EXPECT_EQ(run.report->students(1).after(0).metric(), "sqnr_db");
  }
  const Distilled unknown = RunDistill(
      "distill: {training: {outputs: [{output: z, kind: values}]}}", job, arena, data.set.get());
  EXPECT_EQ(ReasonOf(unknown.report.status()), ERROR_REASON_RECIPE_INVALID);
  EXPECT_EQ(DetailOf(unknown.report.status()).metadata().at("field"), "training.outputs[0].output");
  EXPECT_THAT(DetailOf(unknown.report.status()).metadata().at("remedy"), HasSubstr("y"));
}

TEST(DistillTest, WhatCannotBeMadeOrTrainedIsNamed) {
  TestJob job;
  WeightArena arena(&job.scratch());
  const auto distill = [&](std::string_view text) {
    With with;
    with.teacher = ModelFromText(text);
    return RunDistill("distill: {bounds: [{metric: sqnr_db, min: 1}], training: {steps: 3}}", job,
                      arena, nullptr, with);
  };
  const Distilled single = distill(R"(<ir_version: 8, opset_import: ["" : 17]>
      g (float[2, 3] x) => (float[2, 2] y) <float[3, 2] w = {1, 2, 3, 4, 5, 6}> { y = MatMul(x, w) })");
  EXPECT_EQ(ReasonOf(single.report.status()), ERROR_REASON_NOTHING_CHANGED)
      << single.report.status();
  const Distilled unknown = distill(R"(<ir_version: 8, opset_import: ["" : 17]>
      g (float[1, 3] x) => (float[1] y)
      <float[3, 6] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9},
       float[6, 4] u = {1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8},
       int64[3] shape = {1, 2, 2}>
      { h = MatMul(x, w) r = Relu(h) s = MatMul(r, u) m = Reshape(s, shape) y = Det(m) })");
  EXPECT_EQ(ReasonOf(unknown.report.status()), ERROR_REASON_OP_UNSUPPORTED)
      << unknown.report.status();
  EXPECT_THAT(std::string(unknown.report.status().message()), HasSubstr("Det"));
  // Outputs that are always the same: a typed end, whichever.
  const Distilled constant = distill(R"(<ir_version: 8, opset_import: ["" : 17]>
      g (float[2, 3] x) => (float[2, 2] y)
      <float[3, 4] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3}, float[4, 2] u = {0, 0, 0, 0, 0, 0, 0, 0},
       float[2] b = {0.5, -0.5}>
      { h = MatMul(x, w) r = Relu(h) s = MatMul(r, u) y = Add(s, b) })");
  EXPECT_TRUE(constant.report.ok() ||
              ReasonOf(constant.report.status()) != ERROR_REASON_INTERNAL_BUG)
      << constant.report.status();
}

TEST(DistillTest, EndsBeforeTheDeadlineWithWhatItHas) {
  const Data data(0, 500);
  TestJob job;
  WeightArena arena(&job.scratch());
  // More steps than there is time for, and a requirement that nobody meets.
  job.cancellation().EndIn(15);
  const Distilled run = RunDistill(
      "distill: {keep_best: true, bounds: [{metric: sqnr_db, min: 150}], training: {steps: "
      "10000000, learning_rate: 0.01}}",
      job, arena, data.set.get());
  ASSERT_TRUE(run.report.ok()) << run.report.status();
  ASSERT_EQ(run.report->trainings_size(), 1);
  EXPECT_EQ(run.report->trainings(0).end(), TrainingRun::END_TIME);
  EXPECT_GT(run.report->trainings(0).steps(), 0u);
  EXPECT_THAT(run.report->notes(), Contains(HasSubstr("the time is up")));
}

TEST(DistillTest, StopsInTheMiddleWhenCancelled) {
  const Data data(0, 400);
  TestJob job;
  WeightArena arena(&job.scratch());
  With with;
  with.progress = [&](double, std::string_view detail) {
    if (detail.find("student 2") != std::string_view::npos) job.cancellation().Cancel();
  };
  const Distilled run =
      RunDistill(std::string("distill: {bounds: [{metric: sqnr_db, min: 80}], ") + kShort + "}",
                 job, arena, data.set.get(), with);
  EXPECT_EQ(ReasonOf(run.report.status()), ERROR_REASON_JOB_CANCELLED);
  EXPECT_EQ(run.so_far.students_size(), 2);
}

TEST(DistillTest, OptionsOutOfRangeAreNamed) {
  for (const auto& [options, field] : {
           std::pair{"distill: {width: 1}", "distill.width"},
           {"distill: {shrink: 0}", "distill.shrink"},
           {"distill: {confidence: 1}", "distill.confidence"},
           {"distill: {max_students: 1000}", "distill.max_students"},
           {"distill: {training: {alpha: 2}}", "distill.training.alpha"},
           {"distill: {training: {outputs: [{output: y}]}}", "distill.training.outputs[0].kind"},
           {"distill: {bounds: [{metric: size_ratio, max: 1}]}", "distill.bounds[0].metric"},
           {"distill: {bounds: [{metric: accuracy}]}", "distill.bounds[0]"},
           {"distill: {bounds: [{metric: sqnr_db, max_drop: 1}]}", "distill.bounds[0]"},
       }) {
    PassStep step;
    ASSERT_TRUE(ReadYaml(options, &step).ok()) << options;
    const absl::Status status = PassRegistry::Get().Find("distill")->Validate(step);
    EXPECT_EQ(ReasonOf(status), ERROR_REASON_RECIPE_INVALID) << options;
    EXPECT_EQ(DetailOf(status).metadata().at("field"), field);
  }
}

}  // namespace
}  // namespace modelpress::testing
