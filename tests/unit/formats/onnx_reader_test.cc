// Reading ONNX: every way a tensor's content can be written, what is refused, what is brought to one form.
#include <bit>
#include <cstring>
#include <string>

#include "core/base/status.h"
#include "core/formats/format.h"
#include "core/formats/onnx/external_data.h"
#include "core/formats/onnx/reader.h"
#include "core/formats/onnx/wire.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/model_builder.h"

namespace modelpress {
namespace {

using onnx_format::AppendTag;
using onnx_format::AppendVarint;
using onnx_format::WireType;
using testing::FindInitializer;
using ::testing::HasSubstr;
using testing::MakeInput;
using testing::ParseProto;
using testing::ReadModel;

// y = Identity(w) with an initializer that the test fills.
onnx::ModelProto Holder(int data_type, const std::vector<int64_t>& dims) {
  onnx::ModelProto proto = ParseProto(R"(
    <ir_version: 9, opset_import: ["" : 19]>
    agraph (float[1] x) => (float[1] y) { y = Identity(x) })");
  onnx::TensorProto* tensor = proto.mutable_graph()->add_initializer();
  tensor->set_name("w");
  tensor->set_data_type(data_type);
  for (const int64_t extent : dims) tensor->add_dims(extent);
  return proto;
}

std::string Field(uint32_t number, const std::string& bytes) {
  std::string out;
  AppendTag(number, WireType::kBytes, &out);
  AppendVarint(bytes.size(), &out);
  return out + bytes;
}

// The holder's bytes with these extra bytes inside its initializer (protobuf: fields may come in any order and number).
std::string WithTensorBytes(const onnx::ModelProto& proto, const std::string& extra) {
  onnx::ModelProto rest = proto;
  rest.clear_graph();
  onnx::GraphProto graph = proto.graph();
  const std::string tensor = graph.initializer(0).SerializeAsString() + extra;
  graph.clear_initializer();
  return rest.SerializeAsString() + Field(7, graph.SerializeAsString() + Field(5, tensor));
}

absl::StatusOr<Model> ReadBytes(const std::string& bytes) {
  return ReadModel(InputFiles{MakeInput("model.onnx", bytes), {}});
}

std::vector<double> ReadValues(const absl::StatusOr<Model>& model) {
  EXPECT_TRUE(model.ok()) << model.status();
  if (!model.ok()) return {};
  return testing::Values(*model, *FindInitializer(*model, "w"));
}

// Typed fields, small (inline) and large (moved), give the numbers that went in, for every type and field.
TEST(OnnxReader, ReadsTypedDataOfAnySize) {
  for (const int count : {3, 5000}) {
    for (int type = 1; type <= 22; ++type) {
      const DataType data_type = static_cast<DataType>(type);
      const bool four_bit = BitsPerElement(data_type) == 4;
      if (data_type == DataType::kString) continue;
      onnx::ModelProto proto = Holder(type, {count});
      onnx::TensorProto* tensor = proto.mutable_graph()->mutable_initializer(0);
      std::string expected;  // raw bytes
      const int entries = four_bit ? (count + 1) / 2 : count;
      for (int i = 0; i < entries; ++i) {
        const uint64_t bits = (i * 37 + 1) % 120;
        switch (data_type) {
          case DataType::kFloat:
            tensor->add_float_data(std::bit_cast<float>(uint32_t(bits)));
            break;
          case DataType::kComplex64:
            tensor->add_float_data(std::bit_cast<float>(uint32_t(bits)));
            tensor->add_float_data(0);
            break;
          case DataType::kDouble:
            tensor->add_double_data(std::bit_cast<double>(bits));
            break;
          case DataType::kComplex128:
            tensor->add_double_data(std::bit_cast<double>(bits));
            tensor->add_double_data(0);
            break;
          case DataType::kInt64:
            tensor->add_int64_data(static_cast<int64_t>(bits));
            break;
          case DataType::kUint32:
          case DataType::kUint64:
            tensor->add_uint64_data(bits);
            break;
          default:
            tensor->add_int32_data(static_cast<int32_t>(bits));
            break;
        }
        const int width = four_bit ? 1 : BitsPerElement(data_type) / 8;
        std::string element(width, '\0');
        std::memcpy(element.data(), &bits, std::min<size_t>(width, sizeof bits));
        expected += element;
      }
      const absl::StatusOr<Model> model = ReadModel(proto);
      ASSERT_TRUE(model.ok()) << DataTypeName(data_type) << " " << model.status();
      const auto bytes = model->Bytes(*FindInitializer(*model, "w"));
      ASSERT_TRUE(bytes.ok()) << bytes.status();
      EXPECT_TRUE(std::ranges::equal(*bytes, std::as_bytes(std::span(expected))))
          << DataTypeName(data_type) << " x " << count;
    }
  }
}

TEST(OnnxReader, NegativeInt8InInt32Data) {
  for (const int count : {2, 5000}) {
    onnx::ModelProto proto = Holder(onnx::TensorProto::INT8, {count});
    for (int i = 0; i < count; ++i) {
      proto.mutable_graph()->mutable_initializer(0)->add_int32_data(i % 2 == 0 ? -128 : -1);
    }
    const std::vector<double> values = ReadValues(ReadModel(proto));
    ASSERT_EQ(values.size(), count);
    EXPECT_EQ(values[0], -128);
    EXPECT_EQ(values[1], -1);
  }
}

// Large packed floats stay in the file; nothing is written to scratch.
TEST(OnnxReader, MapsPackedFloatsInPlace) {
  onnx::ModelProto proto = Holder(onnx::TensorProto::FLOAT, {5000});
  for (int i = 0; i < 5000; ++i) proto.mutable_graph()->mutable_initializer(0)->add_float_data(i);
  const InputFiles files{MakeInput("m", proto.SerializeAsString()), {}};
  const auto model = ReadModel(files);
  ASSERT_TRUE(model.ok()) << model.status();
  ASSERT_EQ(model->weights().size(), 1);
  EXPECT_EQ(model->weights()[0].file, files.main.file);
}

// Protobuf allows a packed field in several pieces, and single elements between them.
TEST(OnnxReader, JoinsSplitTypedData) {
  std::string pieces;
  for (int i = 0; i < 3000; ++i) {
    const float value = static_cast<float>(i);
    const std::string bits(reinterpret_cast<const char*>(&value), 4);
    if (i % 3 == 0) {
      AppendTag(4, WireType::kFixed32, &pieces);
      pieces += bits;
    } else {
      pieces += Field(4, bits);
    }
  }
  const std::vector<double> values =
      ReadValues(ReadBytes(WithTensorBytes(Holder(onnx::TensorProto::FLOAT, {3000}), pieces)));
  ASSERT_EQ(values.size(), 3000);
  for (int i = 0; i < 3000; ++i) ASSERT_EQ(values[i], i);
}

// The last raw_data wins, whatever its size and that of the ones before.
TEST(OnnxReader, LastRawDataWins) {
  const std::string ones(8192, '\x01');
  const std::string twos(8192, '\x02');
  const auto proto = Holder(onnx::TensorProto::UINT8, {8192});
  const std::vector<double> values = ReadValues(
      ReadBytes(WithTensorBytes(proto, Field(9, ones) + Field(9, "x") + Field(9, twos))));
  ASSERT_EQ(values.size(), 8192);
  EXPECT_EQ(values[0], 2);
}

// An attribute's tensor twice would be merged by protobuf, piece by piece: refused.
TEST(OnnxReader, RefusesATensorInTwoPieces) {
  onnx::ModelProto proto = ParseProto(R"(
    <ir_version: 9, opset_import: ["" : 19]>
    agraph (float[1] x) => (float[1] y) { c = Constant <value = float[1] {1}> ()  y = Add(x, c) })");
  onnx::NodeProto node = proto.graph().node(0);
  const std::string attribute =
      node.attribute(0).SerializeAsString() + Field(5, node.attribute(0).t().SerializeAsString());
  node.clear_attribute();
  onnx::GraphProto graph = proto.graph();
  graph.clear_node();
  proto.clear_graph();
  const auto model =
      ReadBytes(proto.SerializeAsString() +
                Field(7, graph.SerializeAsString() +
                             Field(1, node.SerializeAsString() + Field(5, attribute))));
  EXPECT_EQ(ReasonOf(model.status()), ERROR_REASON_MODEL_MALFORMED);
  EXPECT_THAT(std::string(model.status().message()), HasSubstr("occurs twice"));
}

TEST(OnnxReader, RefusesTheReservedKey) {
  onnx::ModelProto proto = Holder(onnx::TensorProto::FLOAT, {1});
  auto* entry = proto.mutable_graph()->mutable_initializer(0)->add_external_data();
  entry->set_key("modelpress.moved");
  entry->set_value("0");
  EXPECT_EQ(ReasonOf(ReadModel(proto).status()), ERROR_REASON_EXTERNAL_DATA_REJECTED);
}

struct NameCase {
  const char* name;
  const char* normalised;  // null: refused
};

TEST(NormaliseName, TakesNamesNotPaths) {
  for (const NameCase& test : std::vector<NameCase>{{"w.data", "w.data"},
                                                    {"./w.data", "w.data"},
                                                    {"a//b/./c", "a/b/c"},
                                                    {"..data", "..data"},
                                                    {"a..b", "a..b"},
                                                    {"", nullptr},
                                                    {".", nullptr},
                                                    {"/etc/passwd", nullptr},
                                                    {"../w", nullptr},
                                                    {"a/../w", nullptr},
                                                    {"a/..", nullptr},
                                                    {"a\\b", nullptr},
                                                    {"C:w", nullptr},
                                                    {"a\nb", nullptr}}) {
    const auto name = onnx_format::NormaliseName(test.name);
    if (test.normalised == nullptr) {
      EXPECT_EQ(ReasonOf(name.status()), ERROR_REASON_EXTERNAL_DATA_REJECTED) << test.name;
    } else {
      ASSERT_TRUE(name.ok()) << test.name;
      EXPECT_EQ(*name, test.normalised);
    }
  }
}

onnx::ModelProto External(const std::string& location, const std::string& offset) {
  onnx::ModelProto proto = Holder(onnx::TensorProto::UINT8, {6000});
  onnx::TensorProto* tensor = proto.mutable_graph()->mutable_initializer(0);
  tensor->set_data_location(onnx::TensorProto::EXTERNAL);
  for (const auto& [key, value] : {std::pair{"location", location}, {"offset", offset}}) {
    auto* entry = tensor->add_external_data();
    entry->set_key(key);
    entry->set_value(value);
  }
  return proto;
}

TEST(OnnxReader, TakesExternalDataFromTheNamedBlob) {
  const InputFile blob = MakeInput("sub/w.data", std::string(100, '\1') + std::string(6000, '\2'));
  const auto read = [&](const std::string& location, const std::string& offset) {
    return ReadModel(
        InputFiles{MakeInput("m", External(location, offset).SerializeAsString()), {blob}});
  };
  const auto model = read("./sub/w.data", "100");
  const std::vector<double> values = ReadValues(model);
  EXPECT_EQ(values.front(), 2);
  EXPECT_EQ(model->weights()[0].file, blob.file);
  EXPECT_EQ(ReasonOf(read("w.data", "0").status()), ERROR_REASON_EXTERNAL_DATA_REJECTED);
  EXPECT_EQ(ReasonOf(read("sub/w.data", "101").status()), ERROR_REASON_EXTERNAL_DATA_REJECTED);
  const auto missing = read("other", "0");
  EXPECT_EQ(DetailOf(missing.status()).metadata().at("location"), "other");
  EXPECT_THAT(DetailOf(missing.status()).metadata().at("remedy"), HasSubstr("other"));
}

// Shapes stay inline whatever their size: neither the runtime nor shape inference reads external ones.
TEST(OnnxReader, KeepsShapeTensorsInline) {
  const auto model = onnx_format::ReadOnnx(InputFiles{MakeInput("m", ParseProto(R"(
        <ir_version: 8, opset_import: ["" : 17]>
        agraph (float[4] x) => (float[A, B] y)
        <int64[2] shape = {2, 2}, float[4] w = {1, 2, 3, 4}>
        { a = Add(x, w)  y = Reshape(a, shape) })")
                                                                         .SerializeAsString()),
                                                      {}},
                                           testing::TestJob().context(), /*inline_bytes=*/0);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->Weight(*FindInitializer(*model, "shape")), nullptr);
  EXPECT_NE(model->Weight(*FindInitializer(*model, "w")), nullptr);
}

TEST(OnnxReader, BringsOldAndNewVersionsToOneForm) {
  onnx::ModelProto proto = Holder(onnx::TensorProto::FLOAT, {1});
  proto.mutable_graph()->mutable_initializer(0)->add_float_data(1);
  *proto.mutable_graph()->add_input() = proto.graph().input(0);
  proto.mutable_graph()->mutable_input(1)->set_name("w");

  proto.set_ir_version(3);  // initializers had to be inputs
  auto model = ReadModel(proto);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->proto().graph().input_size(), 1);
  EXPECT_EQ(model->proto().ir_version(), 4);

  proto.set_ir_version(8);  // now it says that callers may replace it
  model = ReadModel(proto);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->proto().graph().input_size(), 2);

  proto.set_ir_version(11);
  model = ReadModel(proto);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->proto().ir_version(), 10);

  proto.mutable_opset_import(0)->set_version(23);
  EXPECT_EQ(ReasonOf(ReadModel(proto).status()), ERROR_REASON_OPSET_UNSUPPORTED);
}

TEST(OnnxReader, SortsWhatIsMerelyOutOfOrder) {
  onnx::ModelProto proto = ParseProto(R"(
    <ir_version: 8, opset_import: ["" : 17]>
    agraph (float[1] x) => (float[1] y) { a = Relu(x)  y = Neg(a) })");
  proto.mutable_graph()->mutable_node()->SwapElements(0, 1);
  const auto model = ReadModel(proto);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->proto().graph().node(0).op_type(), "Relu");
}

// No prefix of a valid model reads as a model, crashes or hangs.
TEST(OnnxReader, RefusesEveryTruncation) {
  onnx::ModelProto proto = Holder(onnx::TensorProto::FLOAT, {1100});
  for (int i = 0; i < 1100; ++i) proto.mutable_graph()->mutable_initializer(0)->add_float_data(i);
  const std::string bytes = proto.SerializeAsString();
  // The opset import stands last on the wire here; what lacks it or part of the graph is refused.
  for (size_t length = 0; length < bytes.size(); length += length < 64 ? 1 : 97) {
    EXPECT_FALSE(ReadBytes(bytes.substr(0, length)).ok()) << length;
  }
}

}  // namespace
}  // namespace modelpress
