// finetune from end to end on small nets: what is learnt, what stays, and what happens when the trainer does not live.
#include <dirent.h>
#include <signal.h>

#include <cmath>
#include <fstream>
#include <set>

#include "core/model/graph.h"
#include "core/recipe/recipe_reader.h"
#include "core/training/training_memory.h"
#include "gmock/gmock.h"
#include "tests/unit/data/data_builders.h"
#include "tests/unit/passes/run_pass.h"

namespace modelpress::testing {
namespace {

using ::testing::HasSubstr;

constexpr int kSamples = 200, kInputs = 12, kHidden = 24, kClasses = 5;

// A net of two layers with random weights; any number of samples.
Model Teacher() {
  onnx::ModelProto proto = ParseProto(R"(<ir_version: 8, opset_import: ["" : 17]>
      g (float[N, 12] x) => (float[N, 5] y)
      { a = Gemm(x, w1, b1) r = Relu(a) h = MatMul(r, w2) y = Add(h, b2) })");
  std::mt19937 random(3);
  AddInitializer(proto, "w1", {kInputs, kHidden}, RandomFloats(random, kInputs * kHidden));
  AddInitializer(proto, "b1", {kHidden}, RandomFloats(random, kHidden));
  AddInitializer(proto, "w2", {kHidden, kClasses}, RandomFloats(random, kHidden * kClasses));
  AddInitializer(proto, "b2", {kClasses}, RandomFloats(random, kClasses));
  return *ReadModel(proto);
}

DataFolder& Samples(DataFolder& folder) {
  std::mt19937 random(5);
  return folder.Write("unlabeled/x.npy",
                      FloatNpy({kSamples, kInputs}, RandomFloats(random, kSamples * kInputs)));
}

struct Finetuned {
  absl::StatusOr<PassReport> report;
  Model model;
};

// Prunes or quantizes with `first`, then runs `second`, against the teacher.
Finetuned Finetune(const std::string& first, const std::string& second, TestJob& job,
                   WeightArena& arena, const DataSet* data,
                   std::function<void(double, std::string_view)> progress = nullptr,
                   uint64_t memory_budget_bytes = 0) {
  const Model teacher = Teacher();
  Finetuned run{absl::UnknownError(""), teacher.Clone()};
  if (!first.empty()) {
    const auto prepared = RunPass(first, &run.model, &job, &arena, data);
    EXPECT_TRUE(prepared.ok()) << prepared.status();
  }
  PassStep step;
  EXPECT_TRUE(ReadYaml(second, &step).ok());
  JobContext limited = job.context();
  limited.memory_budget_bytes = memory_budget_bytes;
  PassContext context;
  context.job = &limited;
  context.original = &teacher;
  context.data = data;
  context.arena = &arena;
  context.seed = 1;
  context.progress = progress;
  run.report = PassRegistry::Get().Find("finetune")->Run(run.model, step, context);
  return run;
}

std::set<size_t> Zeros(const Model& model, const std::string& name) {
  std::set<size_t> zeros;
  const std::vector<double> values = Values(model, *FindInitializer(model, name));
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i] == 0) zeros.insert(i);
  }
  return zeros;
}

double LossBefore(const PassReport& report) {
  return report.trainings(0).points(0).validation_loss();
}
double LossAfter(const PassReport& report) {
  double least = INFINITY;
  for (const auto& point : report.trainings(0).points()) {
    least = std::min(least, point.validation_loss());
  }
  return least;
}

std::string Bytes(const Model& model) {
  std::string bytes;
  ForEachTensor(model.proto(), [&](const onnx::TensorProto& tensor) {
    const auto found = model.Bytes(tensor);
    if (found.ok()) bytes.append(reinterpret_cast<const char*>(found->data()), found->size());
  });
  return bytes;
}

constexpr char kPrune[] = "prune_magnitude: {sparsity_per_tensor: 0.6, weights: {min_elements: 1}}";

TEST(FinetuneTest, PrunedWeightsStayZeroAndTheRestLearns) {
  DataFolder folder;
  const auto data = DataSet::Open(Samples(folder).path(), folder.scratch());
  ASSERT_TRUE(data.ok()) << data.status();
  TestJob job;
  WeightArena arena(&job.scratch());
  const Model teacher = Teacher();
  Model pruned = teacher.Clone();
  ASSERT_TRUE(RunPass(kPrune, &pruned, &job, &arena).ok());
  const Finetuned run = Finetune(kPrune, "finetune: {training: {steps: 300, learning_rate: 0.01}}",
                                 job, arena, data->get());
  ASSERT_TRUE(run.report.ok()) << run.report.status();
  EXPECT_LT(LossAfter(*run.report), 0.3 * LossBefore(*run.report));
  for (const char* name : {"w1", "w2"}) {
    EXPECT_FALSE(Zeros(pruned, name).empty());
    EXPECT_EQ(Zeros(run.model, name), Zeros(pruned, name)) << name;
  }
  EXPECT_EQ(run.report->changes_size(), 4);
  EXPECT_EQ(run.report->trainings(0).training_samples(), 180u);
  EXPECT_EQ(run.report->trainings(0).validation_samples(), 20u);
  EXPECT_EQ(run.report->trainings(0).parameters(),
            kInputs * kHidden + kHidden + kHidden * kClasses + kClasses);
}

TEST(FinetuneTest, TheModelFollowsTheOriginalInsideWhereThatHelps) {
  DataFolder folder;
  const auto data = DataSet::Open(Samples(folder).path(), folder.scratch());
  TestJob job;
  WeightArena arena(&job.scratch());
  const auto trained = [&](const std::string& hints) {
    return Finetune(
        kPrune, "finetune: {training: {steps: 200, learning_rate: 0.01, hints: [" + hints + "]}}",
        job, arena, data->get());
  };
  const Finetuned chosen = trained(""), with = trained("{teacher: r}"),
                  without = trained("{teacher: r, weight: 0}");
  for (const Finetuned* run : {&chosen, &with, &without}) {
    ASSERT_TRUE(run->report.ok()) << run->report.status();
  }
  std::string notes;
  for (const std::string& note : chosen.report->notes()) notes += note + "\n";
  constexpr char kFollowed[] = "values inside of the original are followed too: r;";
  const bool followed = notes.find(kFollowed) != std::string::npos;
  EXPECT_THAT(notes, HasSubstr(followed ? kFollowed
                                        : "values inside of the original are not followed: r;"));
  EXPECT_TRUE(Bytes(with.model) != Bytes(without.model));
  EXPECT_TRUE(Bytes(chosen.model) == Bytes(followed ? with.model : without.model));
}

TEST(FinetuneTest, CodesStayOnTheirGrid) {
  for (const std::string encoding : {"dequantize_linear", "matmul_nbits"}) {
    DataFolder folder;
    const auto data = DataSet::Open(Samples(folder).path(), folder.scratch());
    TestJob job;
    WeightArena arena(&job.scratch());
    const std::string quantize =
        "quantize_weights: {type: int2, block_size: 16, method: rtn, encoding: " + encoding +
        ", weights: {min_elements: 1}}";
    const Finetuned run =
        Finetune(quantize, "finetune: {training: {steps: 300, learning_rate: 0.02}}", job, arena,
                 data->get());
    ASSERT_TRUE(run.report.ok()) << encoding << ": " << run.report.status();
    EXPECT_LT(LossAfter(*run.report), 0.5 * LossBefore(*run.report)) << encoding;
    Model before = Teacher();
    ASSERT_TRUE(RunPass(quantize, &before, &job, &arena, data->get()).ok());
    int coded = 0;
    for (const onnx::TensorProto& tensor : before.proto().graph().initializer()) {
      const onnx::TensorProto* after = FindInitializer(run.model, tensor.name());
      ASSERT_NE(after, nullptr) << tensor.name();
      EXPECT_EQ(after->data_type(), tensor.data_type()) << tensor.name();
      if (tensor.name().ends_with("_scale") || tensor.name().ends_with("_zero_point")) {
        EXPECT_EQ(Values(run.model, *after), Values(before, tensor)) << tensor.name();
      }
      coded += tensor.name().ends_with("_quantized");
      if (encoding == "dequantize_linear" && tensor.name().ends_with("_quantized")) {
        const std::vector<double> old_codes = Values(before, tensor);
        const std::set<double> levels(old_codes.begin(), old_codes.end());
        EXPECT_LE(levels.size(), 4u);
        for (const double code : Values(run.model, *after)) {
          EXPECT_TRUE(levels.contains(code)) << tensor.name() << " " << code;
        }
      }
    }
    EXPECT_EQ(coded, 2);
  }
}

TEST(FinetuneTest, LabelsCountWhereThereAreSome) {
  DataFolder folder;
  Samples(folder);
  std::mt19937 random(9);
  folder.Write("train/x.npy", FloatNpy({40, kInputs}, RandomFloats(random, 40 * kInputs)));
  folder.Write("train/labels.npy", Int64Npy({40}, std::vector<int64_t>(40, 3)));
  folder.Write("val/x.npy", FloatNpy({30, kInputs}, RandomFloats(random, 30 * kInputs)));
  folder.Write("val/labels.npy", Int64Npy({30}, std::vector<int64_t>(30, 3)));
  const auto data = DataSet::Open(folder.path(), folder.scratch());
  TestJob job;
  WeightArena arena(&job.scratch());
  const Finetuned run =
      Finetune(kPrune, "finetune: {training: {steps: 60, alpha: 0.1, batch_size: 40}}", job, arena,
               data->get());
  ASSERT_TRUE(run.report.ok()) << run.report.status();
  const TrainingRun& training = run.report->trainings(0);
  EXPECT_EQ(training.labelled_samples(), 40u);
  EXPECT_EQ(training.training_samples(), 240u);
  EXPECT_EQ(training.validation_samples(), 30u);
  EXPECT_TRUE(training.points(0).has_accuracy());
  folder.Write("train/labels.npy", Int64Npy({40}, std::vector<int64_t>(40, 7)));
  const auto wrong = DataSet::Open(folder.path(), folder.scratch());
  const Finetuned refused =
      Finetune(kPrune, "finetune: {training: {steps: 3}}", job, arena, wrong->get());
  EXPECT_EQ(ReasonOf(refused.report.status()), ERROR_REASON_DATA_INVALID);
  EXPECT_THAT(std::string(refused.report.status().message()), HasSubstr("label 7"));
}

// The trainer that this process has started; 0 if there is none.
pid_t TrainerPid() {
  DIR* const folder = opendir("/proc");
  pid_t found = 0;
  while (const dirent* entry = readdir(folder)) {
    std::ifstream file(std::string("/proc/") + entry->d_name + "/stat");
    int pid = 0, parent = 0;
    std::string name, state;
    if (file >> pid >> name >> state >> parent && parent == getpid() &&
        name.starts_with("(modelpress-tr") && state != "Z") {
      found = pid;
    }
  }
  closedir(folder);
  return found;
}

TEST(FinetuneTest, AKilledTrainerGoesOnToTheSameBytes) {
  DataFolder folder;
  const auto data = DataSet::Open(Samples(folder).path(), folder.scratch());
  TestJob job;
  WeightArena arena(&job.scratch());
  const std::string options = "finetune: {training: {steps: 2000, evaluate_every: 100}}";
  const Finetuned whole = Finetune(kPrune, options, job, arena, data->get());
  ASSERT_TRUE(whole.report.ok()) << whole.report.status();
  int kills = 0;
  const Finetuned killed =
      Finetune(kPrune, options, job, arena, data->get(), [&](double fraction, std::string_view) {
        if (fraction < 0.3 || kills > 0) return;
        const pid_t pid = TrainerPid();
        if (pid > 0 && kill(pid, SIGKILL) == 0) ++kills;
      });
  ASSERT_TRUE(killed.report.ok()) << killed.report.status();
  EXPECT_EQ(kills, 1);
  EXPECT_EQ(killed.report->trainings(0).restarts(), 1u);
  EXPECT_TRUE(Bytes(killed.model) == Bytes(whole.model));
  EXPECT_EQ(killed.report->trainings(0).points_size(), whole.report->trainings(0).points_size());
}

TEST(FinetuneTest, TheBytesAreTheSameForAnyNumberOfThreads) {
  // Feeds of one sample each, so that a batch is many parts.
  DataFolder folder;
  std::mt19937 random(5);
  folder.Write("unlabeled/x.npy",
               FloatNpy({kSamples, 1, kInputs}, RandomFloats(random, kSamples * kInputs)));
  const auto data = DataSet::Open(folder.path(), folder.scratch());
  const struct {
    const char *first, *second;
  } kCases[] = {
      {kPrune, "finetune: {training: {steps: 40, learning_rate: 0.01}}"},
      // Lanes of different lengths, the last of one sample.
      {kPrune, "finetune: {training: {steps: 40, batch_size: 13, hints: [{teacher: r}]}}"},
      {"quantize_weights: {type: int2, block_size: 16, method: rtn, weights: {min_elements: 1}}",
       "finetune: {training: {steps: 40, optimizer: sgd, batch_size: 3}}"},
  };
  for (const auto& test : kCases) {
    std::string expected;
    double loss = 0;
    for (const size_t threads : {1, 2, 7}) {
      TestJob job(threads);
      WeightArena arena(&job.scratch());
      const Finetuned run = Finetune(test.first, test.second, job, arena, data->get());
      ASSERT_TRUE(run.report.ok()) << run.report.status();
      EXPECT_LT(LossAfter(*run.report), LossBefore(*run.report));
      if (threads == 1) {
        expected = Bytes(run.model);
        loss = LossAfter(*run.report);
      }
      EXPECT_TRUE(Bytes(run.model) == expected) << test.second << ", threads " << threads;
      EXPECT_EQ(LossAfter(*run.report), loss) << test.second << ", threads " << threads;
    }
  }
}

TEST(FinetuneTest, StopsInTheMiddleWhenCancelled) {
  DataFolder folder;
  const auto data = DataSet::Open(Samples(folder).path(), folder.scratch());
  TestJob job;
  WeightArena arena(&job.scratch());
  const Finetuned run = Finetune(kPrune, "finetune: {training: {steps: 1000000}}", job, arena,
                                 data->get(), [&](double fraction, std::string_view) {
                                   if (fraction > 0.1) job.cancellation().Cancel();
                                 });
  EXPECT_EQ(ReasonOf(run.report.status()), ERROR_REASON_JOB_CANCELLED);
  EXPECT_EQ(TrainerPid(), 0);
}

TEST(FinetuneTest, ALossThatIsNotFiniteIsTold) {
  DataFolder folder;
  const auto data = DataSet::Open(Samples(folder).path(), folder.scratch());
  TestJob job;
  WeightArena arena(&job.scratch());
  const std::string wild = "finetune: {training: {steps: 50, learning_rate: 1e30, warmup: 0";
  const Finetuned run = Finetune(kPrune, wild + "}}", job, arena, data->get());
  EXPECT_EQ(ReasonOf(run.report.status()), ERROR_REASON_TRAINING_DIVERGED) << run.report.status();
  EXPECT_THAT(std::string(run.report.status().message()), HasSubstr("step"));
  const Finetuned kept =
      Finetune(kPrune, wild + ", keep_on_divergence: true}}\nallow_no_change: true", job, arena,
               data->get());
  ASSERT_TRUE(kept.report.ok()) << kept.report.status();
  EXPECT_EQ(kept.report->trainings(0).end(), TrainingRun::END_DIVERGED);
}

TEST(FinetuneTest, AnOperatorThatIsMissingIsRefusedByName) {
  TestJob job;
  WeightArena arena(&job.scratch());
  Model model = ModelFromText(R"(<ir_version: 8, opset_import: ["" : 17]>
      g (float[1, 2, 2] x) => (float[1] y) <float[2, 2] w = {1, 2, 3, 5}>
      { h = MatMul(x, w) y = Det(h) })");
  const auto report = RunPass("finetune: {training: {steps: 3}}", &model, &job, &arena);
  EXPECT_EQ(ReasonOf(report.status()), ERROR_REASON_OP_UNSUPPORTED) << report.status();
  EXPECT_THAT(std::string(report.status().message()), HasSubstr("Det"));
}

TEST(FinetuneTest, HintsAreFollowedAndRefusedByName) {
  DataFolder folder;
  const auto data = DataSet::Open(Samples(folder).path(), folder.scratch());
  TestJob job;
  WeightArena arena(&job.scratch());
  const std::string options = "finetune: {training: {steps: 200, learning_rate: 0.01, hints: [";
  const Finetuned plain = Finetune(kPrune, options + "]}}", job, arena, data->get());
  const Finetuned hinted =
      Finetune(kPrune, options + "{teacher: r, weight: 0.5}, {teacher: a, student: y}]}}", job,
               arena, data->get());
  ASSERT_TRUE(plain.report.ok()) << plain.report.status();
  ASSERT_TRUE(hinted.report.ok()) << hinted.report.status();
  // Validation is by the outputs alone, and begins at the same values.
  EXPECT_EQ(LossBefore(*hinted.report), LossBefore(*plain.report));
  EXPECT_LT(LossAfter(*hinted.report), 0.5 * LossBefore(*hinted.report));
  EXPECT_NE(LossAfter(*hinted.report), LossAfter(*plain.report));
  // Training losses have the further terms.
  EXPECT_GT(hinted.report->trainings(0).points(1).loss(),
            plain.report->trainings(0).points(1).loss());

  const struct {
    const char *hint, *what;
  } kRefused[] = {
      {"{teacher: rr}", "hints[0].teacher names 'rr', which no operator makes"},
      {"{teacher: r, student: b1}", "hints[0].student names 'b1', which no operator makes"},
  };
  for (const auto& test : kRefused) {
    const Finetuned refused =
        Finetune(kPrune, options + test.hint + "]}}", job, arena, data->get());
    EXPECT_EQ(ReasonOf(refused.report.status()), ERROR_REASON_RECIPE_INVALID);
    EXPECT_THAT(std::string(refused.report.status().message()), HasSubstr(test.what));
  }
}

TEST(FinetuneTest, ALearningRateIsChosenWhereNobodySaysOne) {
  DataFolder folder;
  const auto data = DataSet::Open(Samples(folder).path(), folder.scratch());
  TestJob job;
  WeightArena arena(&job.scratch());
  const Finetuned chosen =
      Finetune(kPrune, "finetune: {training: {steps: 200}}", job, arena, data->get());
  ASSERT_TRUE(chosen.report.ok()) << chosen.report.status();
  std::string notes;
  for (const std::string& note : chosen.report->notes()) notes += note + "\n";
  EXPECT_THAT(notes, HasSubstr("learning rate 0.03, by the validation loss after trainings of 10 "
                               "steps (0.001: "));
  ASSERT_EQ(chosen.report->trainings_size(), 1);
  const Finetuned smallest = Finetune(
      kPrune, "finetune: {training: {steps: 200, learning_rate: 0.001}}", job, arena, data->get());
  EXPECT_LT(LossAfter(*chosen.report), LossAfter(*smallest.report));
}

// A budget with little room for activations: batches are cut, which changes rounding alone.
TEST(FinetuneTest, BatchesAreCutToFitIntoMemory) {
  DataFolder folder;
  const auto data = DataSet::Open(Samples(folder).path(), folder.scratch());
  const std::string options =
      "finetune: {training: {steps: 10, batch_size: 6000, learning_rate: 0.01}}";
  std::vector<double> losses;
  for (const uint64_t budget : {uint64_t{0}, TrainerFixedMemory(4096) + (2 << 20)}) {
    TestJob job;
    WeightArena arena(&job.scratch());
    const Finetuned run = Finetune(kPrune, options, job, arena, data->get(), nullptr, budget);
    ASSERT_TRUE(run.report.ok()) << run.report.status();
    losses.push_back(LossAfter(*run.report));
  }
  EXPECT_NEAR(losses[1] / losses[0], 1, 1e-4);
}

TEST(FinetuneTest, ASampleThatDoesNotFitIntoMemoryIsRefused) {
  TestJob job;
  JobContext limited = job.context();
  limited.memory_budget_bytes = TrainerFixedMemory(4096) + (2 << 20);
  WeightArena arena(&job.scratch());
  Model model = ModelFromText(R"(<ir_version: 8, opset_import: ["" : 17]>
      g (float[1, 1, 500, 500] x) => (float[1, 1, 500, 500] y) <float[1, 1, 1, 1] w = {3}>
      { h = Conv(x, w) y = Relu(h) })");
  const Model teacher = model.Clone();
  PassStep step;
  ASSERT_TRUE(ReadYaml("finetune: {training: {steps: 3}}", &step).ok());
  PassContext context;
  context.job = &limited;
  context.original = &teacher;
  context.arena = &arena;
  const auto report = PassRegistry::Get().Find("finetune")->Run(model, step, context);
  EXPECT_EQ(ReasonOf(report.status()), ERROR_REASON_MEMORY_BUDGET) << report.status();
  EXPECT_THAT(std::string(report.status().message()), HasSubstr("one sample"));
}

// What a head chooses among is what is trained by; the head itself stays.
TEST(FinetuneTest, WhatFeedsAChoiceIsTrained) {
  DataFolder folder;
  const auto data = DataSet::Open(Samples(folder).path(), folder.scratch());
  TestJob job;
  WeightArena arena(&job.scratch());
  Model teacher = Teacher();
  onnx::GraphProto& graph = *teacher.mutable_proto().mutable_graph();
  onnx::TensorProto& k = *graph.add_initializer();
  k.set_name("k");
  k.set_data_type(onnx::TensorProto::INT64);
  k.add_dims(1);
  k.set_raw_data(std::string("\x02\0\0\0\0\0\0\0", 8));
  onnx::NodeProto& node = *graph.add_node();
  node.set_op_type("TopK");
  *node.add_input() = "y";
  *node.add_input() = "k";
  *node.add_output() = "best";
  *node.add_output() = "which";
  graph.clear_output();
  for (const char* name : {"best", "which"}) {
    auto& output = *graph.add_output();
    output.set_name(name);
    auto& type = *output.mutable_type()->mutable_tensor_type();
    type.set_elem_type(name[0] == 'b' ? onnx::TensorProto::FLOAT : onnx::TensorProto::INT64);
    type.mutable_shape()->add_dim()->set_dim_param("N");
    type.mutable_shape()->add_dim()->set_dim_value(2);
  }
  Model pruned = teacher.Clone();
  ASSERT_TRUE(RunPass(kPrune, &pruned, &job, &arena).ok());
  PassStep step;
  ASSERT_TRUE(ReadYaml("finetune: {training: {steps: 200, learning_rate: 0.01}}", &step).ok());
  PassContext context;
  context.job = &job.context();
  context.original = &teacher;
  context.data = data->get();
  context.arena = &arena;
  const auto report = PassRegistry::Get().Find("finetune")->Run(pruned, step, context);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_LT(LossAfter(*report), 0.5 * LossBefore(*report));
  EXPECT_EQ(pruned.proto().graph().output(0).name(), "best");
  EXPECT_EQ(pruned.proto().graph().node_size(), teacher.proto().graph().node_size());
}

TEST(FinetuneTest, SamplesOfDifferentShapesAreRefused) {
  DataFolder folder;
  folder.Write("calib/x/0.npy", FloatNpy({1, kInputs}, std::vector<float>(kInputs, 1)));
  folder.Write("calib/x/1.npy", FloatNpy({2, kInputs}, std::vector<float>(2 * kInputs, 1)));
  const auto data = DataSet::Open(folder.path(), folder.scratch());
  TestJob job;
  WeightArena arena(&job.scratch());
  const Finetuned run =
      Finetune(kPrune, "finetune: {training: {steps: 3}}", job, arena, data->get());
  EXPECT_EQ(ReasonOf(run.report.status()), ERROR_REASON_DATA_INVALID) << run.report.status();
}

}  // namespace
}  // namespace modelpress::testing
