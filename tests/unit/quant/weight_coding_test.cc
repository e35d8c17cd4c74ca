// What options mean for weights: defaults, rules, and combinations that are refused.
#include "core/quant/weight_coding.h"

#include "core/base/status.h"
#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "modelpress/v1/recipe.pb.h"
#include "tests/support/model_builder.h"

namespace modelpress {
namespace {

using ::testing::HasSubstr;

v1::QuantizeWeights Options(const std::string& text) {
  v1::QuantizeWeights options;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &options)) << text;
  return options;
}

// As "int4 symmetric blocks 32 kquant": what becomes of the weight of one node.
std::string Coding(const std::string& options, const std::string& nodes = "y = MatMul(x, w)") {
  onnx::ModelProto proto = testing::ParseProto(
      R"(<ir_version: 8, opset_import: ["" : 17]>
         g (float[a, 64] x, int64[n] i) => (float[k, l] y) { )" +
      nodes + " }");
  onnx::TensorProto& tensor = *proto.mutable_graph()->add_initializer();
  tensor.set_name("w");
  for (int i = 0; i < 2; ++i) tensor.add_dims(64);
  tensor.set_data_type(onnx::TensorProto::FLOAT);
  tensor.set_raw_data(std::string(64 * 64 * 4, '\0'));
  auto model = testing::ReadModel(proto);
  EXPECT_TRUE(model.ok()) << model.status();
  const GraphIndex index(model->mutable_proto());
  const auto found = SelectWeights(*model, index, {});
  EXPECT_TRUE(found.ok() && found->weights.size() == 1);
  const WeightCoding coding = CodingFor(Options(options), found->weights[0]);
  if (coding.keep_float) return "float";
  if (coding.whole_channels) {
    return std::string(coding.affine.type == CodeType::kInt8 ? "int8" : "uint8") +
           (coding.affine.symmetric ? " symmetric" : " asymmetric") +
           (coding.per_channel ? " channel" : " tensor");
  }
  constexpr const char* kMethods[] = {"rtn", "mse_clip", "kquant", "hqq", "weighted"};
  constexpr const char* kData[] = {"", " energy", " gram", " factors"};
  return std::string(coding.is_signed ? "int" : "uint") + std::to_string(coding.block_rule.bits) +
         (coding.block_rule.symmetric ? " symmetric" : " asymmetric") +
         (coding.blocks.block_size == 0 ? " channel"
                                        : " " + std::to_string(coding.blocks.block_size)) +
         " " + kMethods[static_cast<int>(coding.block_rule.method)] +
         kData[static_cast<int>(coding.calibration)];
}

TEST(CodingForTest, Table) {
  for (const auto& [options, coding] : {
           std::pair{"", "int8 symmetric channel"},
           {"type: TYPE_UINT8 scheme: SCHEME_ASYMMETRIC", "uint8 asymmetric channel"},
           {"granularity: GRANULARITY_PER_TENSOR", "int8 symmetric tensor"},
           {"block_size: 64", "int8 symmetric 64 rtn"},
           {"granularity: GRANULARITY_PER_BLOCK method: METHOD_GPTQ",
            "int8 symmetric 32 kquant gram"},
           {"type: TYPE_INT4", "int4 symmetric 32 kquant"},
           {"type: TYPE_UINT4 block_size: 128", "uint4 asymmetric 128 kquant"},
           {"type: TYPE_INT4 granularity: GRANULARITY_PER_CHANNEL",
            "int4 symmetric channel kquant"},
           {"type: TYPE_INT4 method: METHOD_HQQ", "int4 asymmetric 32 hqq"},
           {"type: TYPE_INT3", "int3 asymmetric 32 kquant"},
           {"type: TYPE_INT3 scheme: SCHEME_SYMMETRIC method: METHOD_RTN", "int3 symmetric 32 rtn"},
           {"type: TYPE_INT2 method: METHOD_MSE_CLIP block_size: 16",
            "int2 asymmetric 16 mse_clip"},
           {"type: TYPE_INT4 method: METHOD_SCALE_ESTIMATION", "int4 symmetric 32 weighted energy"},
           {"type: TYPE_INT4 method: METHOD_AWQ", "int4 symmetric 32 weighted factors"},
           {"type: TYPE_INT4 rules {match: 'w' keep_float: true}", "float"},
           {"type: TYPE_INT4 rules {match: 'v' keep_float: true}", "int4 symmetric 32 kquant"},
           {"type: TYPE_INT4 rules {match: '[w]' type: TYPE_INT2 method: METHOD_RTN} "
            "rules {match: '*' keep_float: true}",
            "int2 asymmetric 32 rtn"},
       }) {
    EXPECT_EQ(Coding(options), coding) << options;
  }
}

TEST(CodingForTest, TablesAndMovedWeights) {
  // Rows of a table that is gathered have no operator for blocks of 8 bits.
  EXPECT_EQ(Coding("block_size: 64", "y = Gather(w, i)"), "int8 symmetric channel");
  EXPECT_EQ(Coding("type: TYPE_INT4", "y = Gather(w, i)"), "int4 symmetric 32 kquant");
  EXPECT_EQ(Coding("type: TYPE_INT4", "t = Transpose(w) y = MatMul(x, t)"),
            "int8 symmetric channel");
}

TEST(ValidateCodingTest, NamesTheField) {
  for (const auto& [options, field] : {
           std::pair{"type: TYPE_INT4 granularity: GRANULARITY_PER_TENSOR",
                     "quantize_weights.granularity"},
           {"type: TYPE_INT4 block_size: 24", "quantize_weights.block_size"},
           {"type: TYPE_INT4 block_size: 8", "quantize_weights.block_size"},
           {"type: TYPE_INT4 block_size: 512", "quantize_weights.block_size"},
           {"type: TYPE_INT4 method: METHOD_HQQ scheme: SCHEME_SYMMETRIC",
            "quantize_weights.method"},
           {"method: METHOD_GPTQ", "quantize_weights.method"},
           {"type: TYPE_INT4 rules {type: TYPE_INT8}", "quantize_weights.rules[0].match"},
           {"type: TYPE_INT4 rules {match: ''}", "quantize_weights.rules[0].match"},
           {"type: TYPE_INT4 rules {match: 'a'} rules {match: 'b' block_size: 7}",
            "quantize_weights.rules[1].block_size"},
           {"rules {match: 'a' method: METHOD_AWQ}", "quantize_weights.rules[0].method"},
       }) {
    const absl::Status status = ValidateCoding(Options(options));
    EXPECT_EQ(ReasonOf(status), ERROR_REASON_RECIPE_INVALID) << options;
    EXPECT_THAT(std::string(status.message()), HasSubstr(field)) << options;
  }
  EXPECT_TRUE(ValidateCoding(Options("type: TYPE_INT2 method: METHOD_GPTQ block_size: 256")).ok());
}

}  // namespace
}  // namespace modelpress
