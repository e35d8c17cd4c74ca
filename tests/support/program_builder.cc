// Programs of PyTorch for tests: see program_builder.h.
#include "tests/support/program_builder.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <map>

#include "core/base/status.h"
#include "core/formats/pt2/convert.h"
#include "core/formats/pt2/graph_reader.h"
#include "modelpress/v1/recipe.pb.h"
#include "tests/support/test_data.h"

namespace modelpress::testing {
namespace {

DataType TypeNamed(const std::string& name) {
  static const auto* const types = new std::map<std::string, DataType>{
      {"float32", DataType::kFloat},   {"float64", DataType::kDouble},
      {"float16", DataType::kFloat16}, {"bfloat16", DataType::kBfloat16},
      {"int64", DataType::kInt64},     {"int32", DataType::kInt32},
      {"int16", DataType::kInt16},     {"int8", DataType::kInt8},
      {"uint8", DataType::kUint8},     {"bool", DataType::kBool}};
  return types->at(name);
}

double Number(const nlohmann::json& value) {
  if (!value.is_string()) return value.get<double>();
  const std::string text = value.get<std::string>();
  if (text == "nan") return std::numeric_limits<double>::quiet_NaN();
  return text == "inf" ? std::numeric_limits<double>::infinity()
                       : -std::numeric_limits<double>::infinity();
}

// A float as float16, for numbers that it holds.
uint16_t Half(double value) {
  uint32_t bits = 0;
  const float narrow = static_cast<float>(value);
  std::memcpy(&bits, &narrow, sizeof(bits));
  const uint32_t sign = (bits >> 16) & 0x8000;
  const int exponent = static_cast<int>((bits >> 23) & 0xff) - 127 + 15;
  const uint32_t mantissa = (bits >> 13) & 0x3ff;
  if (std::isinf(narrow)) return static_cast<uint16_t>(sign | 0x7c00);
  if (exponent <= 0)
    return static_cast<uint16_t>(sign |
                                 static_cast<uint32_t>(std::lround(std::abs(value) * 0x1p24)));
  return static_cast<uint16_t>(sign | static_cast<uint32_t>(exponent) << 10 | mantissa);
}

template <typename T>
void Fill(const nlohmann::json& data, std::span<std::byte> out,
          T (*convert)(const nlohmann::json&)) {
  for (size_t i = 0; i < data.size(); ++i) {
    const T value = convert(data[i]);
    std::memcpy(out.data() + i * sizeof(T), &value, sizeof(T));
  }
}

}  // namespace

const nlohmann::json& ProgramExamples() {
  static const auto* const examples =
      new nlohmann::json(nlohmann::json::parse(ReadFile(TestDataPath("pt2/examples.json"))));
  return *examples;
}

Tensor TensorOf(const nlohmann::json& description) {
  const std::string dtype = description["dtype"].get<std::string>();
  std::span<std::byte> out;
  Tensor tensor =
      Tensor::Make(TypeNamed(dtype), description["shape"].get<std::vector<int64_t>>(), &out)
          .value();
  const nlohmann::json& data = description["data"];
  if (dtype == "float32")
    Fill<float>(data, out, [](const nlohmann::json& v) { return static_cast<float>(Number(v)); });
  if (dtype == "float64")
    Fill<double>(data, out, [](const nlohmann::json& v) { return Number(v); });
  if (dtype == "float16")
    Fill<uint16_t>(data, out, [](const nlohmann::json& v) { return Half(Number(v)); });
  if (dtype == "bfloat16")
    Fill<uint16_t>(data, out, [](const nlohmann::json& v) { return v.get<uint16_t>(); });
  if (dtype == "int64")
    Fill<int64_t>(data, out, [](const nlohmann::json& v) { return v.get<int64_t>(); });
  if (dtype == "int32")
    Fill<int32_t>(data, out, [](const nlohmann::json& v) { return v.get<int32_t>(); });
  if (dtype == "int16")
    Fill<int16_t>(data, out, [](const nlohmann::json& v) { return v.get<int16_t>(); });
  if (dtype == "int8")
    Fill<int8_t>(data, out, [](const nlohmann::json& v) { return v.get<int8_t>(); });
  if (dtype == "uint8" || dtype == "bool")
    Fill<uint8_t>(data, out, [](const nlohmann::json& v) { return v.get<uint8_t>(); });
  return tensor;
}

absl::StatusOr<pt2::Program> ProgramOf(const nlohmann::json& example, TestJob& job) {
  MP_ASSIGN_OR_RETURN(pt2::Program program, pt2::ParseProgram(example["program"].dump()));
  WeightArena arena(&job.scratch());
  for (const auto& [name, description] : example["weights"].items()) {
    const Tensor tensor = TensorOf(description);
    MP_ASSIGN_OR_RETURN(const WeightArena::Room room, arena.Allocate(tensor.bytes.size()));
    std::ranges::copy(tensor.bytes, room.bytes.begin());
    program.weights[name] = {name, tensor.type, tensor.dims, room.weight};
  }
  return program;
}

absl::StatusOr<Model> ConvertExample(const nlohmann::json& example, TestJob& job) {
  MP_ASSIGN_OR_RETURN(const pt2::Program program, ProgramOf(example, job));
  return pt2::ConvertProgram(program, Import(), job.context(), nullptr);
}

}  // namespace modelpress::testing
