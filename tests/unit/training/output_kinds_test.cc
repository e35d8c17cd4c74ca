// Kinds of outputs: what is told, what is guessed from labels and shapes, and what cannot be.
#include "core/training/output_kinds.h"

#include "core/base/status.h"
#include "core/recipe/recipe_reader.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/data/data_builders.h"

namespace modelpress::testing {
namespace {

using ::testing::HasSubstr;

struct Output {
  std::string name;
  std::vector<int64_t> dims;
  DataType type = DataType::kFloat;
};

struct Case {
  std::string what;
  std::vector<Output> outputs;
  // Shape and values of the labels; no shape: there are none.
  std::vector<int64_t> label_dims;
  std::vector<int64_t> labels;
  // YAML of a Training and of a Judging.
  std::string training, judging;
  // "name: loss axis, trained, labels" of each output; or a piece of the message of a refusal.
  std::vector<std::string> kinds;
  std::string refusal;
  bool joined = true;
};

absl::StatusOr<OutputKinds> Resolve(const Case& row) {
  Training training;
  Judging judging;
  EXPECT_TRUE(ReadYaml(row.training, &training).ok()) << row.training;
  EXPECT_TRUE(ReadYaml(row.judging, &judging).ok()) << row.judging;
  std::vector<ValueInfo> infos;
  TensorMap values;
  for (const Output& output : row.outputs) {
    infos.push_back({.name = output.name, .type = output.type, .dims = output.dims});
    std::span<std::byte> bytes;
    values[output.name] = Tensor::Make(output.type, output.dims, &bytes).value();
  }
  Batch batch{.samples = row.joined ? 4u : 1u};
  if (!row.label_dims.empty()) {
    batch.labels = MakeTensor(DataType::kInt64, row.label_dims, row.labels);
  }
  return ResolveOutputs(training, judging, infos, values, batch, row.joined);
}

std::vector<std::string> Describe(const OutputKinds& kinds) {
  std::vector<std::string> texts;
  for (const OutputKind& output : kinds.outputs) {
    std::string text = output.output + ": ";
    switch (output.loss) {
      case TrainTarget::LOSS_CLASSES:
        text += "classes " + std::to_string(output.class_axis);
        break;
      case TrainTarget::LOSS_BINARY:
        text += "binary";
        break;
      case TrainTarget::LOSS_COSINE:
        text += "embedding";
        break;
      default:
        text += "values";
    }
    if (output.trained) text += ", trained";
    if (output.labels) text += ", labels";
    texts.push_back(text);
  }
  return texts;
}

TEST(OutputKindsTest, ToldAndGuessed) {
  const std::vector<int64_t> bits = {1, 0, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1};
  const std::vector<Case> cases = {
      {"the first output that labels fit is guessed to have the classes",
       {{"features", {4, 8}}, {"logits", {4, 3}}},
       {4},
       {0, 2, 1, 1},
       "",
       "",
       {"features: classes 1, trained, labels", "logits: values"}},
      {"embeddings are not classes",
       {{"emb", {4, 8}}, {"logits", {4, 3}}},
       {4},
       {0, 2, 1, 1},
       "outputs: [{output: emb, kind: embedding}]",
       "",
       {"emb: embedding, trained", "logits: classes 1, trained, labels"}},
      {"without labels an embedding is guessed to be classes",
       {{"emb", {4, 8}}},
       {},
       {},
       "",
       "",
       {"emb: classes 1, trained"}},
      {"unless it is told",
       {{"emb", {4, 8}}},
       {},
       {},
       "outputs: [{kind: embedding}]",
       "",
       {"emb: embedding, trained"}},
      {"and then states behind it are not guessed to be",
       {{"emb", {4, 8}}, {"state", {4, 5}}},
       {},
       {},
       "outputs: [{output: emb, kind: embedding}]",
       "",
       {"emb: embedding, trained", "state: values"}},
      {"several yes or no",
       {{"tags", {4, 3}}},
       {4, 3},
       bits,
       "",
       "",
       {"tags: binary, trained, labels"}},
      {"several yes or no without labels",
       {{"tags", {4, 3}}},
       {},
       {},
       "outputs: [{output: tags, kind: binary}]",
       "",
       {"tags: binary, trained"}},
      {"numbers that are no classes",
       {{"price", {4, 1}}},
       {4},
       {0, 1, 30, 2},
       "",
       "",
       {"price: values, trained"}},
      {"labels 0 and 1 of what is told to be a number",
       {{"price", {4, 1}}},
       {4},
       {0, 1, 1, 0},
       "outputs: [{output: price, kind: values}]",
       "",
       {"price: values, trained"}},
      {"two heads of classes, labels are of the first",
       {{"a", {4, 3}}, {"b", {4, 5, 6, 7}}, {"c", {4, 2}}},
       {4},
       {0, 2, 1, 1},
       "outputs: [{output: a, kind: classes}, {output: b, kind: classes}]",
       "",
       {"a: classes 1, trained, labels", "b: classes 1, trained", "c: values"}},
      {"one entry about all, one about an output",
       {{"a", {4, 3}}, {"b", {4, 8}}, {"n", {4}, DataType::kInt64}},
       {},
       {},
       "outputs: [{kind: values}, {output: b, kind: embedding}]",
       "",
       {"a: values, trained", "b: embedding, trained"}},
      {"what is told counts without a task too",
       {{"a", {4, 3}}, {"b", {4, 8}}},
       {},
       {},
       "outputs: [{output: a, kind: classes}]",
       "task: none",
       {"a: classes 1, trained", "b: values"}},
      {"no name",
       {{"a", {4, 3}}},
       {},
       {},
       "outputs: [{output: emb, kind: embedding}]",
       "",
       {},
       "'emb' is no output"},
      {"integers",
       {{"a", {4, 3}}, {"ids", {4, 3}, DataType::kInt64}},
       {},
       {},
       "outputs: [{output: ids, kind: classes}]",
       "",
       {},
       "holds int64"},
      {"a number has no direction",
       {{"a", {4}}},
       {},
       {},
       "outputs: [{kind: embedding}]",
       "",
       {},
       "no axis along which"},
      {"one feed as it stands has",
       {{"a", {8}}},
       {},
       {},
       "outputs: [{kind: embedding}]",
       "",
       {"a: embedding, trained"},
       "",
       false},
      {"one class is none",
       {{"a", {4, 1}}},
       {},
       {},
       "outputs: [{kind: classes}]",
       "",
       {},
       "no axis of two or more classes"},
      {"labels of the whole shape are not of classes",
       {{"tags", {4, 3}}},
       {4, 3},
       bits,
       "outputs: [{kind: classes}]",
       "",
       {},
       "told to hold classes"},
      {"labels of classes are not of yes or no",
       {{"tags", {4, 2}}},
       {4},
       {0, 1, 1, 0},
       "outputs: [{kind: binary}]",
       "",
       {},
       "told to hold yes or no"},
      {"judging wants decisions of it",
       {{"emb", {4, 8}}},
       {},
       {},
       "outputs: [{kind: embedding}]",
       "output: emb",
       {},
       "judging.output names it"},
  };
  for (const Case& row : cases) {
    const auto kinds = Resolve(row);
    if (!row.refusal.empty()) {
      ASSERT_FALSE(kinds.ok()) << row.what;
      EXPECT_THAT(std::string(kinds.status().message()), HasSubstr(row.refusal)) << row.what;
      EXPECT_TRUE(DetailOf(kinds.status()).metadata().contains("remedy")) << row.what;
      continue;
    }
    ASSERT_TRUE(kinds.ok()) << row.what << ": " << kinds.status();
    EXPECT_EQ(Describe(*kinds), row.kinds) << row.what;
  }
}

TEST(OutputKindsTest, EntriesNeedAKindAndOneOutputEach) {
  for (const auto& [yaml, field] :
       {std::pair{"outputs: [{output: a}]", "training.outputs[0].kind"},
        {"outputs: [{kind: values}, {kind: classes}]", "training.outputs[1].output"},
        {"outputs: [{output: a, kind: values}, {output: a, kind: binary}]",
         "training.outputs[1].output"}}) {
    Training training;
    ASSERT_TRUE(ReadYaml(yaml, &training).ok());
    const absl::Status status = ValidateOutputs(training.outputs(), "training.outputs");
    EXPECT_EQ(ReasonOf(status), ERROR_REASON_RECIPE_INVALID) << yaml;
    EXPECT_EQ(DetailOf(status).metadata().at("field"), field);
  }
}

}  // namespace
}  // namespace modelpress::testing
