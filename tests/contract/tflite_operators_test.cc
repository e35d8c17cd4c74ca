// Walks the operators of TensorFlow Lite: every one that is registered has an example, every example becomes a valid model
// that loads, and gives LiteRT's numbers (tests/models/make_tflite_examples.py).
#include <algorithm>
#include <cstring>
#include <set>

#include "absl/strings/escaping.h"
#include "core/base/status.h"
#include "core/formats/format.h"
#include "core/formats/tflite/operator.h"
#include "core/gate/gate.h"
#include "core/quant/opset_conversion.h"
#include "core/runtime/session.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "modelpress/v1/recipe.pb.h"
#include "nlohmann/json.hpp"
#include "tests/support/expect_tensor.h"
#include "tests/support/model_builder.h"
#include "tests/support/test_data.h"
#include "tests/support/test_job.h"

namespace modelpress {
namespace {

using nlohmann::json;

// Operators whose examples are in other tests: variables and tables of weights that one operator alone does not make.
constexpr tflite::BuiltinOperator kElsewhere[] = {
    tflite::BuiltinOperator::CALL,
    tflite::BuiltinOperator::CALL_ONCE,
    tflite::BuiltinOperator::VAR_HANDLE,
    tflite::BuiltinOperator::READ_VARIABLE,
    tflite::BuiltinOperator::ASSIGN_VARIABLE,
    tflite::BuiltinOperator::DENSIFY,
    tflite::BuiltinOperator::NON_MAX_SUPPRESSION_V4,
    tflite::BuiltinOperator::NON_MAX_SUPPRESSION_V5,
    // Parts of the examples of RFFT2D.
    tflite::BuiltinOperator::COMPLEX_ABS,
    tflite::BuiltinOperator::REAL,
    tflite::BuiltinOperator::IMAG,
};

const json& Examples() {
  static const auto* const examples =
      new json(json::parse(testing::ReadFile(testing::TestDataPath("tflite/examples.json"))));
  return *examples;
}

std::string Unescaped(const json& text) {
  std::string bytes;
  EXPECT_TRUE(absl::Base64Unescape(text.get<std::string>(), &bytes));
  return bytes;
}

Tensor TensorOf(const json& description) {
  static const std::map<std::string, DataType> types = {
      {"float32", DataType::kFloat},  {"float16", DataType::kFloat16},
      {"float64", DataType::kDouble}, {"int8", DataType::kInt8},
      {"uint8", DataType::kUint8},    {"int16", DataType::kInt16},
      {"uint16", DataType::kUint16},  {"int32", DataType::kInt32},
      {"uint32", DataType::kUint32},  {"int64", DataType::kInt64},
      {"uint64", DataType::kUint64},  {"bool", DataType::kBool}};
  std::span<std::byte> room;
  Tensor tensor = Tensor::Make(types.at(description["type"].get<std::string>()),
                               description["dims"].get<std::vector<int64_t>>(), &room)
                      .value();
  const std::string bytes = Unescaped(description["data"]);
  EXPECT_EQ(bytes.size(), room.size());
  std::memcpy(room.data(), bytes.data(), std::min(bytes.size(), room.size()));
  return tensor;
}

absl::StatusOr<Model> Convert(const json& example, testing::TestJob& job) {
  const InputFiles files{.main = testing::MakeInput("model.tflite", Unescaped(example["model"]))};
  MP_ASSIGN_OR_RETURN(const Format* format, FormatRegistry::Get().Recognise(files));
  return format->Read(files, Import(), job.context());
}

// Compares what the model computes with the example's outputs.
void Check(const Model& model, const json& example) {
  EXPECT_TRUE(CheckModel(model).ok()) << CheckModel(model);
  const auto session = Session::Create(model, {});
  ASSERT_TRUE(session.ok()) << session.status();
  TensorMap inputs;
  const auto declared = (*session)->inputs();
  // States of recurrent operators are inputs behind these, with their first value as a default.
  ASSERT_GE(declared.size(), example["inputs"].size());
  for (size_t i = 0; i < example["inputs"].size(); ++i)
    inputs[declared[i].name] = TensorOf(example["inputs"][i]);
  const auto outputs = (*session)->Run(inputs);
  ASSERT_TRUE(outputs.ok()) << outputs.status();
  for (size_t o = 0; o < example["outputs"].size(); ++o) {
    SCOPED_TRACE(::testing::Message() << "output " << o);
    testing::ExpectTensor(outputs->at((*session)->outputs()[o].name),
                          TensorOf(example["outputs"][o]), example.value("tolerance", 1e-4),
                          example.value("quanta", 0));
  }
}

TEST(TfliteOperators, EveryOneHasAnExample) {
  std::set<std::string> shown;
  for (const json& example : Examples()) shown.insert(example["operator"].get<std::string>());
  for (const tflite::BuiltinOperator code : tflite::OperatorRegistry::Get().translated()) {
    if (std::ranges::contains(kElsewhere, code)) continue;
    EXPECT_TRUE(shown.contains(tflite_schema::EnumNameBuiltinOperator(code)))
        << tflite_schema::EnumNameBuiltinOperator(code);
  }
}

TEST(TfliteOperators, EveryOneIsTranslatedOrRefusedWithARemedy) {
  std::set<tflite::BuiltinOperator> known;
  for (const auto code : tflite::OperatorRegistry::Get().translated()) known.insert(code);
  for (const auto code : tflite::OperatorRegistry::Get().refused()) {
    EXPECT_FALSE(known.contains(code));
    known.insert(code);
  }
  for (const tflite::BuiltinOperator code : tflite_schema::EnumValuesBuiltinOperator()) {
    if (code == tflite::BuiltinOperator::CUSTOM ||
        code == tflite::BuiltinOperator::PLACEHOLDER_FOR_GREATER_OP_CODES)
      continue;
    EXPECT_TRUE(known.contains(code)) << tflite_schema::EnumNameBuiltinOperator(code);
  }
}

TEST(TfliteOperators, ExamplesGiveTheNumbersOfLiteRt) {
  for (const json& example : Examples()) {
    SCOPED_TRACE(example["name"].get<std::string>());
    testing::TestJob job;
    const absl::StatusOr<Model> model = Convert(example, job);
    ASSERT_TRUE(model.ok()) << model.status();
    Check(*model, example);
  }
}

// Older opsets: the same numbers, or a refusal.
TEST(TfliteOperators, ExamplesGiveTheSameNumbersAtOlderOpsets) {
  for (const int64_t opset : {17, 13}) {
    int converted = 0;
    for (const json& example : Examples()) {
      SCOPED_TRACE(example["name"].get<std::string>());
      testing::TestJob job;
      absl::StatusOr<Model> model = Convert(example, job);
      ASSERT_TRUE(model.ok()) << model.status();
      const absl::Status status = ConvertDefaultDomain(*model, opset);
      if (!status.ok()) {
        EXPECT_EQ(ReasonOf(status), ERROR_REASON_OPSET_UNSUPPORTED) << status;
        continue;
      }
      ++converted;
      Check(*model, example);
    }
    EXPECT_GT(converted, static_cast<int>(Examples().size()) * 3 / 4) << opset;
  }
}

}  // namespace
}  // namespace modelpress
