// Recipes as text: what is read, and what every kind of mistake is answered with.
#include "core/recipe/recipe_reader.h"
#include "core/base/format_string.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "core/base/status.h"
#include "modelpress/v1/worker.pb.h"

namespace modelpress {
namespace {

using ::testing::HasSubstr;

TEST(RecipeReaderTest, ReadsEveryKindOfField) {
  const Recipe recipe = ReadRecipe(R"(
# the usual one
passes:
  - fold_batch_norm:
  - quantize_weights: {type: uint8, scheme: SCHEME_ASYMMETRIC, granularity: per_tensor}
    allow_no_change: true
  - prune_magnitude:
      sparsity_global: 5e-1
      weights:
        include: ["conv*", 'fc?']
        exclude: bias
        min_elements: 16
quality:
  - {metric: accuracy, max_drop: 0.005}
  - {metric: sqnr_db, min: 30, output: "y"}
judging: {gate: structure, class_axis: -1, latency: false}
output: {layout: sidecar}
seed: 18446744073709551615
)")
                            .value();
  ASSERT_EQ(recipe.passes_size(), 3);
  EXPECT_TRUE(recipe.passes(0).has_fold_batch_norm());
  EXPECT_EQ(recipe.passes(1).quantize_weights().type(), QuantizeWeights::TYPE_UINT8);
  EXPECT_EQ(recipe.passes(1).quantize_weights().scheme(), QuantizeWeights::SCHEME_ASYMMETRIC);
  EXPECT_EQ(recipe.passes(1).quantize_weights().granularity(),
            QuantizeWeights::GRANULARITY_PER_TENSOR);
  EXPECT_TRUE(recipe.passes(1).allow_no_change());
  const PruneMagnitude& prune = recipe.passes(2).prune_magnitude();
  EXPECT_EQ(prune.sparsity_global(), 0.5);
  EXPECT_THAT(prune.weights().include(), ::testing::ElementsAre("conv*", "fc?"));
  EXPECT_THAT(prune.weights().exclude(), ::testing::ElementsAre("bias"));
  EXPECT_EQ(prune.weights().min_elements(), 16u);
  EXPECT_EQ(recipe.quality(0).max_drop(), 0.005);
  EXPECT_FALSE(recipe.quality(0).has_min());
  EXPECT_EQ(recipe.quality(1).output(), "y");
  EXPECT_EQ(recipe.judging().gate(), Judging::GATE_STRUCTURE);
  EXPECT_EQ(recipe.judging().class_axis(), -1);
  EXPECT_TRUE(recipe.judging().has_latency());
  EXPECT_FALSE(recipe.judging().latency());
  EXPECT_EQ(recipe.output().layout(), Output::LAYOUT_SIDECAR);
  EXPECT_EQ(recipe.seed(), 18446744073709551615u);
}

TEST(RecipeReaderTest, JsonIsReadToo) {
  const Recipe recipe =
      ReadRecipe(
          "{\n\t\"passes\": [{\"quantize_weights\": {\"type\": \"int8\"}}],\n\t\"seed\": 7}\n")
          .value();
  EXPECT_EQ(recipe.passes(0).quantize_weights().type(), QuantizeWeights::TYPE_INT8);
  EXPECT_EQ(recipe.seed(), 7u);
}

TEST(RecipeReaderTest, EmptyTextIsAnEmptyRecipe) {
  for (const char* text : {"", "\n", "# nothing\n", "{}", "---\n", "passes: []\n", "passes:\n"}) {
    const auto recipe = ReadRecipe(text);
    ASSERT_TRUE(recipe.ok()) << text << ": " << recipe.status();
    EXPECT_EQ(recipe->passes_size(), 0) << text;
  }
}

std::string Repeat(std::string_view text, int times) {
  std::string result;
  for (int i = 0; i < times; ++i) result += text;
  return result;
}

struct Mistake {
  std::string text;
  ErrorReason reason;
  std::string field;    // expected metadata "field"; "" not compared
  std::string nearest;  // expected metadata "nearest"; "" must be absent
  std::string words;    // part of the message
};

TEST(RecipeReaderTest, MistakesNameFieldAndNearestName) {
  const std::vector<Mistake> mistakes = {
      {"passs: []", ERROR_REASON_RECIPE_INVALID, "passs", "passes", "line 1"},
      {"passes:\n  - quantise_weights: {}", ERROR_REASON_UNKNOWN_PASS, "passes[0].quantise_weights",
       "quantize_weights", "did you mean"},
      {"passes: [{xyzzy: {}}]", ERROR_REASON_UNKNOWN_PASS, "passes[0].xyzzy", "",
       "known names are quantize_weights"},
      {"passes:\n  - quantize_weights: {granularity: per_chanel}", ERROR_REASON_RECIPE_INVALID,
       "passes[0].quantize_weights.granularity", "per_channel",
       "not one of per_channel, per_tensor"},
      {"passes:\n  - quantize_weights: {type: unspecified}", ERROR_REASON_RECIPE_INVALID,
       "passes[0].quantize_weights.type", "", "not one of int8, uint8"},
      {"passes:\n- fold_batch_norm: {}\n- quantize_weights: {weights: {min_element: 3}}",
       ERROR_REASON_RECIPE_INVALID, "passes[1].quantize_weights.weights.min_element",
       "min_elements", "line 3"},
      {"passes: [{quantize_weights: {weights: {min_elements: -1}}}]", ERROR_REASON_RECIPE_INVALID,
       "passes[0].quantize_weights.weights.min_elements", "", "not negative"},
      {"passes: [{quantize_weights: {weights: {min_elements: 1.5}}}]", ERROR_REASON_RECIPE_INVALID,
       "passes[0].quantize_weights.weights.min_elements", "", "whole number"},
      {"passes: [{prune_magnitude: {threshold: .nan}}]", ERROR_REASON_RECIPE_INVALID,
       "passes[0].prune_magnitude.threshold", "", "finite"},
      {"passes: [{prune_magnitude: {threshold: nan}}]", ERROR_REASON_RECIPE_INVALID,
       "passes[0].prune_magnitude.threshold", "", "finite"},
      {"passes: [{prune_magnitude: {threshold: 1e999}}]", ERROR_REASON_RECIPE_INVALID,
       "passes[0].prune_magnitude.threshold", "", "finite"},
      {"passes: [{prune_magnitude: {threshold: 0.1, sparsity_global: 0.5}}]",
       ERROR_REASON_RECIPE_INVALID, "passes[0].prune_magnitude.sparsity_global", "",
       "'threshold' is given too"},
      {"passes: [{quantize_weights: {}, convert_float16: {}}]", ERROR_REASON_RECIPE_INVALID,
       "passes[0].convert_float16", "", "only one"},
      {"passes: [fold_batch_norm]", ERROR_REASON_RECIPE_INVALID, "passes[0]", "",
       "write 'fold_batch_norm: {}'"},
      {"passes: {quantize_weights: {}}", ERROR_REASON_RECIPE_INVALID, "passes", "",
       "expected a list, found fields"},
      {"passes: 3", ERROR_REASON_RECIPE_INVALID, "passes", "", "expected a list"},
      {"judging: {latency: yes}", ERROR_REASON_RECIPE_INVALID, "judging.latency", "",
       "true or false"},
      {"judging: {threshold: }", ERROR_REASON_RECIPE_INVALID, "judging.threshold", "",
       "found nothing"},
      {"judging: {output: [a]}", ERROR_REASON_RECIPE_INVALID, "judging.output", "", "found a list"},
      {"judging: {class_axis: 3000000000}", ERROR_REASON_RECIPE_INVALID, "judging.class_axis", "",
       "32 bits"},
      {"[1, 2]", ERROR_REASON_RECIPE_INVALID, "", "", "the top level"},
      {"just words", ERROR_REASON_RECIPE_INVALID, "", "", "the top level"},
      {"seed: 1\nseed: 2", ERROR_REASON_RECIPE_INVALID, "", "", "'seed' is given twice"},
      {"seed: &a 1", ERROR_REASON_RECIPE_INVALID, "", "", "anchors"},
      {"a: &a [1]\nb: *a", ERROR_REASON_RECIPE_INVALID, "", "", "anchors"},
      {"seed: *a", ERROR_REASON_RECIPE_INVALID, "", "", ""},
      {"seed: !!int 3", ERROR_REASON_RECIPE_INVALID, "", "", "tags"},
      {"seed: !x 3", ERROR_REASON_RECIPE_INVALID, "", "", "tags"},
      {"{a: 1}: 2", ERROR_REASON_RECIPE_INVALID, "", "", "plain name"},
      {"seed: 1\n---\nseed: 2", ERROR_REASON_RECIPE_INVALID, "", "", "second document"},
      {"passes: [", ERROR_REASON_RECIPE_INVALID, "", "", "line"},
      {"passes: \"abc", ERROR_REASON_RECIPE_INVALID, "", "", "line"},
      {"seed: '\\", ERROR_REASON_RECIPE_INVALID, "", "", "line"},
      {std::string("\xff\xfe\x00\x01", 4), ERROR_REASON_RECIPE_INVALID, "", "", ""},
      {std::string(10000, '['), ERROR_REASON_RECIPE_INVALID, "", "", ""},
      {Repeat("a: {", 40), ERROR_REASON_RECIPE_INVALID, "", "", "nested deeper than 32"},
      {Repeat("- ", 40), ERROR_REASON_RECIPE_INVALID, "", "", "nested deeper than 32"},
      {Repeat("{a: ", 20000), ERROR_REASON_RECIPE_INVALID, "", "", ""},
      {std::string(10000, '{'), ERROR_REASON_RECIPE_INVALID, "", "", ""},
      {std::string(10000, '-'), ERROR_REASON_RECIPE_INVALID, "", "", ""},
      {std::string(kMaxRecipeBytes + 1, ' '), ERROR_REASON_RECIPE_INVALID, "", "", "limit"},
  };
  for (const Mistake& mistake : mistakes) {
    const absl::Status status = ReadRecipe(mistake.text).status();
    const std::string shown = mistake.text.substr(0, 80);
    ASSERT_FALSE(status.ok()) << shown;
    const ErrorDetail detail = DetailOf(status);
    EXPECT_EQ(detail.reason(), mistake.reason) << shown << ": " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(mistake.words)) << shown;
    if (!mistake.field.empty()) {
      EXPECT_EQ(detail.metadata().at("field"), mistake.field) << shown;
    }
    const auto nearest = detail.metadata().find("nearest");
    EXPECT_EQ(nearest == detail.metadata().end() ? "" : nearest->second, mistake.nearest) << shown;
  }
}

TEST(RecipeReaderTest, NestedListsJustBelowTheLimitAreRefusedByType) {
  // Deep but allowed nesting ends as a type error of the field and not as a crash.
  std::string text = "seed: ";
  text += std::string(20, '[') + "1" + std::string(20, ']');
  EXPECT_THAT(std::string(ReadRecipe(text).status().message()), HasSubstr("found a list"));
}

TEST(RecipeReaderTest, MutatedTextNeverCrashes) {
  const std::string good =
      "passes:\n  - quantize_weights: {type: uint8, weights: {include: [\"a*\"]}}\nquality:\n"
      "  - {metric: accuracy, max_drop: 0.005}\nseed: 3\n";
  constexpr unsigned kSeed = 7;
  SCOPED_TRACE(FormatString("seed {}", kSeed));
  std::mt19937 random(kSeed);
  int accepted = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string text = good;
    for (unsigned change = 1 + random() % 4; change > 0; --change) {
      const size_t at = random() % text.size();
      if (random() % 3 == 0) {
        text.erase(at, 1 + random() % 5);
      } else if (random() % 2 == 0) {
        text.insert(at, 1, static_cast<char>(random()));
      } else {
        text[at] = static_cast<char>(random());
      }
      if (text.empty()) text = "x";
    }
    const auto recipe = ReadRecipe(text);
    if (recipe.ok()) {
      ++accepted;
      EXPECT_TRUE(ReadRecipe(RecipeText(*recipe)).ok()) << text;
    } else {
      EXPECT_NE(ReasonOf(recipe.status()), ERROR_REASON_INTERNAL_BUG) << recipe.status();
    }
  }
  EXPECT_GT(accepted, 50);
  EXPECT_LT(accepted, 2950);
}

TEST(RecipeTextTest, ReadsBackAsTheSameRecipe) {
  for (const char* text : {
           "{}",
           "passes: [{fold_batch_norm: {}}, {quantize_weights: {type: uint8}, allow_no_change: "
           "true}]",
           "passes: [{prune_magnitude: {threshold: 0.1, weights: {include: ['a\"b\\c', 'ü', 'x: "
           "y']}}}]",
           "{seed: 18446744073709551615, quality: [{metric: accuracy, max_drop: 0.1, min: 0}]}",
           "judging: {class_axis: -2, latency: false, gate: full}",
       }) {
    const Recipe recipe = ReadRecipe(text).value();
    const std::string json = RecipeText(recipe);
    const auto again = ReadRecipe(json);
    ASSERT_TRUE(again.ok()) << json << again.status();
    EXPECT_EQ(again->SerializeAsString(), recipe.SerializeAsString()) << json;
    EXPECT_EQ(json.find('\n'), std::string::npos);
  }
}

TEST(ReadYamlTest, ReadsOtherMessagesToo) {
  WorkerRequest request;
  ASSERT_TRUE(
      ReadYaml("model: {name: a.onnx}\ndeadline_seconds: 1.5\nthreads: 4\n", &request).ok());
  EXPECT_EQ(request.model().name(), "a.onnx");
  EXPECT_EQ(request.deadline_seconds(), 1.5);
  EXPECT_EQ(request.threads(), 4u);
  EXPECT_EQ(DetailOf(ReadYaml("thread: 3", &request)).metadata().at("nearest"), "threads");
}

}  // namespace
}  // namespace modelpress
