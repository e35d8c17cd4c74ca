// Which values a training follows where nobody names any.
#include "core/training/own_hints.h"

#include <cstring>

#include "gmock/gmock.h"
#include "tests/support/model_builder.h"
#include "tests/support/test_job.h"

namespace modelpress {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr char kNet[] = R"(<ir_version: 8, opset_import: ["" : 17]>
    g (float[N, 1, 4, 4] x) => (float[N, 2] y)
    <float[3, 1, 1, 1] w1 = {1, 2, 3}, float[3, 3, 1, 1] w2 = {1, 0, 0, 0, 1, 0, 0, 0, 1},
     float[3, 2] w3 = {1, 2, 3, 4, 5, 6}>
    { c1 = Conv(x, w1) r1 = Relu(c1)
      c2 = Conv(r1, w2) sum = Add(c2, r1) r2 = Relu(sum) p = GlobalAveragePool(r2)
      f = Flatten(p)
      y = Gemm(f, w3) })";

std::vector<std::string> Chosen(const Model& teacher, const Model& model, uint64_t training,
                                const char* target = "y") {
  testing::TestJob job;
  TrainingData data;
  PackedArray& input = data.inputs.emplace_back();
  input = {.name = "x", .type = DataType::kFloat, .dims = {1, 1, 4, 4}};
  input.file = *job.scratch().NewFile(16 * sizeof(float));
  std::memset(input.file->mutable_bytes().data(), 0, 16 * sizeof(float));
  data.training = training;
  data.targets.emplace_back().output = target;
  std::vector<std::string> names;
  for (const FeatureHint& hint : OwnHints(teacher, model, data, job.context())) {
    names.push_back(hint.teacher());
  }
  return names;
}

TEST(OwnHintsTest, FollowsLayersAsFarAsTheyHaveOneReader) {
  const Model net = testing::ModelFromText(kNet);
  EXPECT_THAT(Chosen(net, net, 100), ElementsAre("r1", "p"));
  // Of r1 all samples together would take too much.
  EXPECT_THAT(Chosen(net, net, kOwnHintsBytes / 100), ElementsAre("p"));
  EXPECT_THAT(Chosen(net, net, kOwnHintsBytes), IsEmpty());
  // What it is not trained by does not matter.
  EXPECT_THAT(Chosen(net, net, 100, "c2"), ElementsAre("r1"));
}

TEST(OwnHintsTest, OnlyWhatBothHave) {
  const Model net = testing::ModelFromText(kNet);
  std::string text = kNet;
  for (size_t at; (at = text.find("r1")) != std::string::npos;) text.replace(at, 2, "other");
  EXPECT_THAT(Chosen(net, testing::ModelFromText(text), 100), ElementsAre("p"));
}

}  // namespace
}  // namespace modelpress
