// Passes and bounds as command-line arguments.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/status.h"
#include "core/recipe/recipe_reader.h"
#include "modelpress/v1/recipe.pb.h"

namespace modelpress {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(PassArgumentTest, ReadsNamesOptionsAndLists) {
  EXPECT_TRUE(ReadPassArgument("fold_batch_norm").value().has_fold_batch_norm());
  EXPECT_TRUE(ReadPassArgument("fold_batch_norm:").value().has_fold_batch_norm());
  const PassStep step =
      ReadPassArgument("quantize_weights:type=uint8, weights.min_elements=16,allow_no_change=true")
          .value();
  EXPECT_EQ(step.quantize_weights().type(), QuantizeWeights::TYPE_UINT8);
  EXPECT_EQ(step.quantize_weights().weights().min_elements(), 16u);
  EXPECT_TRUE(step.allow_no_change());
  EXPECT_THAT(ReadPassArgument("quantize_weights:weights.include=a*,weights.include=b")
                  .value()
                  .quantize_weights()
                  .weights()
                  .include(),
              ElementsAre("a*", "b"));
  EXPECT_THAT(ReadPassArgument("quantize_weights:weights.include=[a*,b],weights.include=c")
                  .value()
                  .quantize_weights()
                  .weights()
                  .include(),
              ElementsAre("a*", "b", "c"));
  EXPECT_THAT(ReadPassArgument("quantize_weights:weights.include=conv[1,2]*")
                  .value()
                  .quantize_weights()
                  .weights()
                  .include(),
              ElementsAre("conv[1,2]*"));
  EXPECT_EQ(ReadPassArgument("quantize_weights:weights.op_types=[]")
                .value()
                .quantize_weights()
                .weights()
                .op_types_size(),
            0);
}

TEST(PassArgumentTest, FieldsOfOneMessageAreAListOfOne) {
  const PassStep step = ReadPassArgument(
                            "distill:training.outputs.output=emb,training.outputs.kind=embedding,"
                            "bounds.metric=cosine,bounds.min=0.9")
                            .value();
  ASSERT_EQ(step.distill().training().outputs_size(), 1);
  EXPECT_EQ(step.distill().training().outputs(0).output(), "emb");
  EXPECT_EQ(step.distill().training().outputs(0).kind(), OutputLoss::KIND_EMBEDDING);
  ASSERT_EQ(step.distill().bounds_size(), 1);
  EXPECT_EQ(step.distill().bounds(0).min(), 0.9);
  const auto wrong = ReadPassArgument("distill:training.outputs.kind=vector");
  EXPECT_THAT(std::string(wrong.status().message()), HasSubstr("training.outputs[0].kind"));
}

TEST(PassArgumentTest, Mistakes) {
  const std::vector<std::pair<std::string, std::string>> mistakes = {
      {"", "expected PASS"},
      {":a=b", "expected PASS"},
      {"quantise_weights", "did you mean 'quantize_weights'"},
      {"quantize_weights:typ=int8", "did you mean 'type'"},
      {"quantize_weights:type", "expected key=value"},
      {"quantize_weights:", ""},  // fine: no options
      {"quantize_weights:type=int8,type=uint8", "expected a single value"},
      {"quantize_weights:weights=3", "expected fields"},
      {"quantize_weights:weights=3,weights.min_elements=4", "has a value and fields"},
      {"quantize_weights:weights.min_elements=4,weights=3", "expected fields"},
      {"quantize_weights:weights..x=4", "there is no field"},
      {"quantize_weights:=4", "there is no field"},
      {"quantize_weights:a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a="
       "4",
       "too deep"},
      {"prune_magnitude:threshold=1,sparsity_global=0.5", "only one"},
  };
  for (const auto& [argument, words] : mistakes) {
    const auto step = ReadPassArgument(argument);
    EXPECT_EQ(step.ok(), words.empty()) << argument << step.status();
    if (!words.empty()) {
      EXPECT_THAT(std::string(step.status().message()), HasSubstr(words)) << argument;
    }
  }
}

TEST(RequireArgumentTest, ReadsLimits) {
  const QualityBound bound = ReadRequireArgument("accuracy.max_drop=0.005").value();
  EXPECT_EQ(bound.metric(), "accuracy");
  EXPECT_EQ(bound.max_drop(), 0.005);
  EXPECT_EQ(ReadRequireArgument("sqnr_db.min=-3").value().min(), -3);
  for (const char* bad :
       {"", "accuracy", "accuracy=3", "accuracy.max_drop", "accuracy.drop=1", "accuracy.min=x",
        "accuracy.metric=f1", "accuracy.output=y", "accuracy.min=inf"}) {
    EXPECT_EQ(ReasonOf(ReadRequireArgument(bad).status()), ERROR_REASON_RECIPE_INVALID) << bad;
  }
  EXPECT_EQ(DetailOf(ReadRequireArgument("f1.max_dorp=1").status()).metadata().at("nearest"),
            "max_drop");
}

}  // namespace
}  // namespace modelpress
