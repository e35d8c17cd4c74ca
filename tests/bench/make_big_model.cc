// Writes an ONNX model of any size in seconds, with real, random weights.
//
//   make_big_model OUT.onnx MEBIBYTES [--transformer] [--sidecar] [--width N]
//
// Without --transformer, a chain: x [N, width] -> (MatMul [width, width] -> Relu) * blocks -> y, weights uniform in
// (-2.4, 2.4) / sqrt(width), so that activations neither vanish nor overflow.
//
// With --transformer, x [N, T, width] -> (LayerNormalization, attention with one head, + ; LayerNormalization, MatMul to
// 4 width, Relu, MatMul back, +) * blocks -> y: 12 width^2 weights per block, bell-shaped. As in trained transformers,
// a few channels (1 of 256) of each LayerNormalization are 20 times as large as the others.
//
// The same numbers in every run. With --sidecar weights go to OUT.onnx.data.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "core/base/format_string.h"
#include "onnx/onnx_pb.h"

namespace {

struct Settings {
  std::string path;
  int64_t blocks = 0;
  int64_t width = 0;
  bool transformer = false;
  bool sidecar = false;

  int64_t block_elements() const { return (transformer ? 12 : 1) * width * width; }
};

// A large weight, in the order of the file.
struct Weight {
  std::string name;
  int64_t rows, columns;

  uint64_t bytes() const { return static_cast<uint64_t>(rows * columns) * sizeof(float); }
};

// xorshift64* (Vigna, 2016): fast, and the same numbers everywhere. Uniform in (-1, 1).
float Next(uint64_t& state) {
  state ^= state >> 12;
  state ^= state << 25;
  state ^= state >> 27;
  const auto high = static_cast<int32_t>((state * 0x2545F4914F6CDD1DULL) >> 32);
  return static_cast<float>(high) * (1 / 2147483648.0f);
}

void Fill(std::vector<float>& values, uint64_t& state, const Settings& settings, int64_t rows) {
  const float scale = 1 / std::sqrt(static_cast<float>(rows));
  for (float& value : values) {
    // The sum of four has a standard deviation of 1.15.
    value = settings.transformer
                ? (Next(state) + Next(state) + Next(state) + Next(state)) * scale * 0.87f
                : Next(state) * scale * 2.4f;
  }
}

onnx::TensorProto Header(const Settings& settings, const Weight& weight, uint64_t offset) {
  onnx::TensorProto tensor;
  tensor.set_name(weight.name);
  tensor.set_data_type(onnx::TensorProto::FLOAT);
  tensor.add_dims(weight.rows);
  tensor.add_dims(weight.columns);
  if (settings.sidecar) {
    tensor.set_data_location(onnx::TensorProto::EXTERNAL);
    const std::string name = settings.path.substr(settings.path.rfind('/') + 1) + ".data";
    const std::pair<const char*, std::string> entries[] = {
        {"location", name},
        {"offset", std::to_string(offset)},
        {"length", std::to_string(weight.bytes())}};
    for (const auto& [key, value] : entries) {
      auto* entry = tensor.add_external_data();
      entry->set_key(key);
      entry->set_value(value);
    }
  }
  return tensor;
}

class Builder {
 public:
  explicit Builder(const Settings& settings) : settings_(settings) {
    model_.set_ir_version(8);
    model_.add_opset_import()->set_version(17);
    graph_.set_name("big");
    for (auto [name, value] : {std::pair{"x", graph_.add_input()}, {"y", graph_.add_output()}}) {
      value->set_name(name);
      auto* type = value->mutable_type()->mutable_tensor_type();
      type->set_elem_type(onnx::TensorProto::FLOAT);
      type->mutable_shape()->add_dim()->set_dim_param("N");
      if (settings.transformer) type->mutable_shape()->add_dim()->set_dim_param("T");
      type->mutable_shape()->add_dim()->set_dim_value(settings.width);
    }
    std::string value = "x";
    if (settings.transformer) {
      const float scale = 1 / std::sqrt(static_cast<float>(settings.width));
      AddSmall("scale", {}, {scale});
    }
    for (int64_t block = 0; block < settings.blocks; ++block) {
      value = settings.transformer ? AddTransformer(block, value) : AddChain(block, value);
    }
    graph_.mutable_node(graph_.node_size() - 1)->set_output(0, "y");
  }

  const onnx::ModelProto& model() const { return model_; }
  const std::vector<Weight>& weights() const { return weights_; }

 private:
  std::string Add(const char* op, std::vector<std::string> inputs, const std::string& output) {
    auto* node = graph_.add_node();
    node->set_op_type(op);
    node->set_name(output + "_" + op);
    for (std::string& input : inputs) node->add_input(std::move(input));
    node->add_output(output);
    return output;
  }
  void AddSmall(const std::string& name, std::vector<int64_t> dims, std::vector<float> values) {
    auto* tensor = graph_.add_initializer();
    tensor->set_name(name);
    tensor->set_data_type(onnx::TensorProto::FLOAT);
    for (const int64_t extent : dims) tensor->add_dims(extent);
    tensor->set_raw_data(values.data(), values.size() * sizeof(float));
  }
  std::string Multiply(const std::string& input, const std::string& name, int64_t rows,
                       int64_t columns) {
    weights_.push_back({name + "_w", rows, columns});
    return Add("MatMul", {input, name + "_w"}, name);
  }
  std::string Normalize(const std::string& input, const std::string& name) {
    std::vector<float> scales(settings_.width, 1.0f), biases(settings_.width);
    for (int64_t c = 0; c < settings_.width; ++c) {
      if (c % 256 == 100) scales[c] = 20;
      biases[c] = 0.1f * Next(state_);
    }
    AddSmall(name + "_scale", {settings_.width}, scales);
    AddSmall(name + "_bias", {settings_.width}, biases);
    return Add("LayerNormalization", {input, name + "_scale", name + "_bias"}, name);
  }

  std::string AddChain(int64_t block, const std::string& input) {
    const std::string name = modelpress::FormatString("m{}", block);
    Multiply(input, name, settings_.width, settings_.width);
    return Add("Relu", {name}, modelpress::FormatString("h{}", block));
  }

  std::string AddTransformer(int64_t block, const std::string& input) {
    const int64_t width = settings_.width;
    const auto name = [&](std::string_view what) {
      return modelpress::FormatString("b{}_{}", block, what);
    };
    const std::string first = Normalize(input, name("norm1"));
    const std::string q = Multiply(first, name("q"), width, width);
    const std::string k = Multiply(first, name("k"), width, width);
    const std::string v = Multiply(first, name("v"), width, width);
    const std::string turned = Add("Transpose", {k}, name("turned"));
    auto* permutation = graph_.mutable_node(graph_.node_size() - 1)->add_attribute();
    permutation->set_name("perm");
    permutation->set_type(onnx::AttributeProto::INTS);
    for (const int64_t axis : {0, 2, 1}) permutation->add_ints(axis);
    const std::string products = Add("MatMul", {q, turned}, name("products"));
    const std::string scores = Add("Mul", {products, "scale"}, name("scores"));
    const std::string shares = Add("Softmax", {scores}, name("shares"));
    const std::string mixed = Add("MatMul", {shares, v}, name("mixed"));
    const std::string attended = Multiply(mixed, name("o"), width, width);
    const std::string middle = Add("Add", {input, attended}, name("middle"));
    const std::string second = Normalize(middle, name("norm2"));
    const std::string wide = Multiply(second, name("up"), width, 4 * width);
    const std::string active = Add("Relu", {wide}, name("active"));
    const std::string narrow = Multiply(active, name("down"), 4 * width, width);
    return Add("Add", {middle, narrow}, name("out"));
  }

  const Settings& settings_;
  onnx::ModelProto model_;
  onnx::GraphProto& graph_ = *model_.mutable_graph();
  std::vector<Weight> weights_;
  uint64_t state_ = 88172645463325252ULL;
};

// Protobuf wire format: tag and length of a length-delimited field.
std::string FieldHead(int number, uint64_t length) {
  std::string bytes(1, static_cast<char>(number << 3 | 2));
  for (; length >= 0x80; length >>= 7) bytes.push_back(static_cast<char>(length | 0x80));
  bytes.push_back(static_cast<char>(length));
  return bytes;
}

int Write(const Settings& settings) {
  constexpr int kModelGraph = 7, kGraphInitializer = 5, kTensorRawData = 9;
  const Builder builder(settings);
  onnx::ModelProto model = builder.model();
  std::string graph = model.graph().SerializeAsString();
  model.clear_graph();
  std::vector<std::string> heads;  // of each initializer, up to its raw bytes
  uint64_t graph_length = graph.size(), offset = 0;
  for (const Weight& weight : builder.weights()) {
    const uint64_t inline_bytes = settings.sidecar ? 0 : weight.bytes();
    std::string tensor = Header(settings, weight, offset).SerializeAsString();
    if (!settings.sidecar) tensor += FieldHead(kTensorRawData, weight.bytes());
    heads.push_back(FieldHead(kGraphInitializer, tensor.size() + inline_bytes) + tensor);
    graph_length += heads.back().size() + inline_bytes;
    offset += weight.bytes();
  }
  std::ofstream main(settings.path, std::ios::binary);
  std::ofstream sidecar;
  if (settings.sidecar) sidecar.open(settings.path + ".data", std::ios::binary);
  main << model.SerializeAsString() << FieldHead(kModelGraph, graph_length) << graph;
  uint64_t state = 88172645463325252ULL;
  for (size_t i = 0; i < heads.size(); ++i) {
    const Weight& weight = builder.weights()[i];
    main << heads[i];
    std::vector<float> values(weight.bytes() / sizeof(float));
    Fill(values, state, settings, weight.rows);
    std::ofstream& stream = settings.sidecar ? sidecar : main;
    stream.write(reinterpret_cast<const char*>(values.data()),
                 static_cast<std::streamsize>(weight.bytes()));
  }
  main.close();
  if (settings.sidecar) sidecar.close();
  return main.good() && !sidecar.fail() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(
        stderr,
        "usage: make_big_model OUT.onnx MEBIBYTES [--transformer] [--sidecar] [--width N]\n");
    return 2;
  }
  Settings settings{.path = argv[1]};
  for (int i = 3; i < argc; ++i) {
    if (std::string(argv[i]) == "--sidecar") settings.sidecar = true;
    if (std::string(argv[i]) == "--transformer") settings.transformer = true;
    if (std::string(argv[i]) == "--width" && i + 1 < argc) settings.width = std::atoll(argv[++i]);
  }
  if (settings.width == 0) settings.width = settings.transformer ? 2048 : 4096;
  const uint64_t bytes = std::strtoull(argv[2], nullptr, 10) << 20;
  settings.blocks = static_cast<int64_t>(bytes / sizeof(float)) / settings.block_elements();
  return settings.blocks > 0 ? Write(settings) : 2;
}
