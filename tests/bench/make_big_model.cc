// Writes an ONNX model of any size in seconds: a chain of MatMuls with real, random weights.
//
//   make_big_model OUT.onnx MEBIBYTES [--sidecar] [--width N]
//
// x [N, width] -> (MatMul with [width, width] float32 -> Relu) * blocks -> y. The weights are uniform in
// (-2.4, 2.4) / sqrt(width), so that activations neither vanish nor overflow, and the same in every run. With --sidecar
// they go to OUT.onnx.data.
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
  int64_t width = 4096;
  bool sidecar = false;

  uint64_t weight_bytes() const { return static_cast<uint64_t>(width) * width * sizeof(float); }
};

// xorshift64* (Vigna, 2016): fast, and the same numbers everywhere.
void Fill(std::vector<float>& values, uint64_t& state, float scale) {
  for (float& value : values) {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    const auto high = static_cast<int32_t>((state * 0x2545F4914F6CDD1DULL) >> 32);
    value = static_cast<float>(high) * (scale / 2147483648.0f);
  }
}

onnx::TensorProto Weight(const Settings& settings, int64_t block) {
  onnx::TensorProto tensor;
  tensor.set_name(modelpress::FormatString("w{}", block));
  tensor.set_data_type(onnx::TensorProto::FLOAT);
  tensor.add_dims(settings.width);
  tensor.add_dims(settings.width);
  if (settings.sidecar) {
    tensor.set_data_location(onnx::TensorProto::EXTERNAL);
    const std::string name = settings.path.substr(settings.path.rfind('/') + 1) + ".data";
    const std::pair<const char*, std::string> entries[] = {
        {"location", name},
        {"offset", std::to_string(block * settings.weight_bytes())},
        {"length", std::to_string(settings.weight_bytes())}};
    for (const auto& [key, value] : entries) {
      auto* entry = tensor.add_external_data();
      entry->set_key(key);
      entry->set_value(value);
    }
  }
  return tensor;
}

onnx::ModelProto Skeleton(const Settings& settings) {
  onnx::ModelProto model;
  model.set_ir_version(8);
  model.add_opset_import()->set_version(17);
  auto& graph = *model.mutable_graph();
  graph.set_name("big");
  for (auto [name, value] : {std::pair{"x", graph.add_input()}, {"y", graph.add_output()}}) {
    value->set_name(name);
    auto* type = value->mutable_type()->mutable_tensor_type();
    type->set_elem_type(onnx::TensorProto::FLOAT);
    type->mutable_shape()->add_dim()->set_dim_param("N");
    type->mutable_shape()->add_dim()->set_dim_value(settings.width);
  }
  auto add_node = [&](const char* op, std::string name, std::vector<std::string> inputs,
                      std::string output) {
    auto* node = graph.add_node();
    node->set_op_type(op);
    node->set_name(std::move(name));
    for (std::string& input : inputs) node->add_input(std::move(input));
    node->add_output(std::move(output));
  };
  for (int64_t block = 0; block < settings.blocks; ++block) {
    const std::string from = block == 0 ? "x" : modelpress::FormatString("h{}", block - 1);
    const std::string to = block + 1 == settings.blocks ? "y" : modelpress::FormatString("h{}", block);
    add_node("MatMul", modelpress::FormatString("matmul{}", block), {from, modelpress::FormatString("w{}", block)},
             modelpress::FormatString("m{}", block));
    add_node("Relu", modelpress::FormatString("relu{}", block), {modelpress::FormatString("m{}", block)}, to);
  }
  return model;
}

// Protobuf wire format: tag and length of a length-delimited field.
std::string FieldHead(int number, uint64_t length) {
  std::string bytes(1, static_cast<char>(number << 3 | 2));
  for (; length >= 0x80; length >>= 7) bytes.push_back(static_cast<char>(length | 0x80));
  bytes.push_back(static_cast<char>(length));
  return bytes;
}

int Write(const Settings& settings) {
  constexpr int kModelGraph = 7, kGraphInitializer = 5, kTensorRawData = 9;
  onnx::ModelProto model = Skeleton(settings);
  std::string graph = model.graph().SerializeAsString();
  model.clear_graph();
  std::vector<std::string> heads;  // of each initializer, up to its raw bytes
  const uint64_t inline_bytes = settings.sidecar ? 0 : settings.weight_bytes();
  uint64_t graph_length = graph.size();
  for (int64_t block = 0; block < settings.blocks; ++block) {
    std::string tensor = Weight(settings, block).SerializeAsString();
    if (!settings.sidecar) tensor += FieldHead(kTensorRawData, settings.weight_bytes());
    heads.push_back(FieldHead(kGraphInitializer, tensor.size() + inline_bytes) + tensor);
    graph_length += heads.back().size() + inline_bytes;
  }
  std::ofstream main(settings.path, std::ios::binary);
  std::ofstream sidecar;
  if (settings.sidecar) sidecar.open(settings.path + ".data", std::ios::binary);
  main << model.SerializeAsString() << FieldHead(kModelGraph, graph_length) << graph;
  std::vector<float> values(settings.weight_bytes() / sizeof(float));
  uint64_t state = 88172645463325252ULL;
  const float scale = 1.0f / std::sqrt(static_cast<float>(settings.width));
  for (const std::string& head : heads) {
    main << head;
    Fill(values, state, 2.4f * scale);
    std::ofstream& stream = settings.sidecar ? sidecar : main;
    stream.write(reinterpret_cast<const char*>(values.data()),
                 static_cast<std::streamsize>(settings.weight_bytes()));
  }
  main.close();
  if (settings.sidecar) sidecar.close();
  return main.good() && !sidecar.fail() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: make_big_model OUT.onnx MEBIBYTES [--sidecar] [--width N]\n");
    return 2;
  }
  Settings settings{.path = argv[1]};
  for (int i = 3; i < argc; ++i) {
    if (std::string(argv[i]) == "--sidecar") settings.sidecar = true;
    if (std::string(argv[i]) == "--width" && i + 1 < argc) settings.width = std::atoll(argv[++i]);
  }
  const uint64_t bytes = std::strtoull(argv[2], nullptr, 10) << 20;
  settings.blocks = static_cast<int64_t>(bytes / settings.weight_bytes());
  return settings.blocks > 0 ? Write(settings) : 2;
}
