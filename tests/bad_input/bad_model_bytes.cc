// Bad models, byte level: truncated, lying or absurd protobuf, and bytes of other formats.
#include "tests/bad_input/bad_models.h"

namespace modelpress::testing {
namespace {

using Models = std::vector<ErrorReason>;
const Models kMalformed = {ERROR_REASON_MODEL_MALFORMED};
const Models kNotAModel = {ERROR_REASON_MODEL_MALFORMED, ERROR_REASON_FORMAT_UNSUPPORTED};
const Models kForeign = {ERROR_REASON_FORMAT_UNSUPPORTED};
const Models kTooDeep = {ERROR_REASON_MODEL_MALFORMED, ERROR_REASON_MODEL_LIMIT};

BadCase Bytes(std::string name, std::string bytes, Models reasons) {
  return {std::move(name), [bytes] { return JobBytes{.model = bytes}; }, std::move(reasons)};
}

std::string Tiny() { return TinyModel().SerializeAsString(); }

// A model whose single initializer has these fields in place of the good ones.
std::string WithInitializer(const std::string& tensor) {
  onnx::ModelProto model = TinyModel();
  model.mutable_graph()->clear_initializer();
  std::string graph = model.graph().SerializeAsString() + Field(5, tensor);
  model.clear_graph();
  return model.SerializeAsString() + Field(7, graph);
}

// dims, data_type float, name "w", then `rest`.
std::string Tensor(const std::vector<uint64_t>& dims, const std::string& rest) {
  std::string bytes;
  for (uint64_t extent : dims) bytes += VarintField(1, extent);
  return bytes + VarintField(2, 1) + Field(8, "w") + rest;
}

// If bodies inside each other: model -> graph -> node -> attribute -> graph ...
std::string NestedIfs(int depth) {
  std::string graph = Field(2, "leaf");
  for (int i = 0; i < depth; ++i) {
    const std::string attribute = Field(1, "then_branch") + Field(6, graph) + VarintField(20, 5);
    graph = Field(1, Field(4, "If") + Field(5, attribute)) + Field(2, "g");
  }
  return VarintField(1, 8) + Field(8, VarintField(2, 17)) + Field(7, graph);
}

std::string Mutated(size_t position, char value) {
  std::string bytes = Tiny();
  bytes[position % bytes.size()] = value;
  return bytes;
}

}  // namespace

std::vector<BadCase> BadModelBytes() {
  const std::string tiny = Tiny();
  const std::string good_data(64, '\0');
  std::vector<BadCase> cases = {
      Bytes("empty_file", "", kNotAModel),
      Bytes("one_byte", "\x08", kNotAModel),
      Bytes("text", "hello, this is not a model at all\n", kForeign),
      Bytes("zeros", std::string(4096, '\0'), kNotAModel),
      Bytes("truncated_half", tiny.substr(0, tiny.size() / 2), kNotAModel),
      Bytes("truncated_by_one", tiny.substr(0, tiny.size() - 1), kNotAModel),
      Bytes("trailing_garbage", tiny + "\xff\xff\xff\xff", kNotAModel),
      Bytes("length_beyond_end", tiny + Varint(7 << 3 | 2) + Varint(1000), kNotAModel),
      Bytes("length_overflows", tiny + Varint(7 << 3 | 2) + Varint(~uint64_t{0}), kNotAModel),
      Bytes("varint_without_end", tiny + std::string(16, '\x80'), kNotAModel),
      Bytes("field_number_zero", tiny + std::string(2, '\0'), kNotAModel),
      Bytes("group_wire_type", tiny + Varint(7 << 3 | 3), kNotAModel),
      Bytes("graph_as_varint", VarintField(1, 8) + VarintField(7, 3), kNotAModel),
      Bytes("nested_10000_deep", NestedIfs(10000), kTooDeep),
      Bytes("nested_200_deep", NestedIfs(200), kTooDeep),
      Bytes("raw_data_too_short", WithInitializer(Tensor({4, 4}, Field(9, "123"))), kMalformed),
      Bytes("raw_data_too_long", WithInitializer(Tensor({4, 4}, Field(9, good_data + "x"))),
            kMalformed),
      Bytes("raw_data_missing", WithInitializer(Tensor({4, 4}, "")), kMalformed),
      Bytes("raw_and_float_data",
            WithInitializer(Tensor({4, 4}, Field(9, good_data) + Field(4, good_data))), kMalformed),
      Bytes("float_data_not_multiple_of_4", WithInitializer(Tensor({4, 4}, Field(4, "12345"))),
            kMalformed),
      Bytes("float_data_wrong_count", WithInitializer(Tensor({4, 4}, Field(4, "1234"))),
            kMalformed),
      Bytes("typed_data_of_other_type",
            WithInitializer(Tensor({4, 4}, Field(7, std::string(16, '\1')))), kMalformed),
      Bytes("dims_product_overflows",
            WithInitializer(Tensor({uint64_t{1} << 62, 16}, Field(9, good_data))), kMalformed),
      Bytes("dims_product_overflows_to_zero",
            WithInitializer(Tensor({uint64_t{1} << 32, uint64_t{1} << 32}, "")), kMalformed),
      Bytes("dims_negative", WithInitializer(Tensor({~uint64_t{0}, 4}, Field(9, good_data))),
            kMalformed),
      Bytes("dims_huge_without_data", WithInitializer(Tensor({1'000'000'000'000}, "")), kMalformed),
      Bytes("unknown_data_type",
            WithInitializer(VarintField(1, 4) + VarintField(2, 99) + Field(8, "w") +
                            Field(9, good_data)),
            kMalformed),
      Bytes("undefined_data_type",
            WithInitializer(VarintField(1, 4) + Field(8, "w") + Field(9, good_data)), kMalformed),
      Bytes("data_type_out_of_range",
            WithInitializer(VarintField(1, 4) + VarintField(2, ~uint64_t{0}) + Field(8, "w") +
                            Field(9, good_data)),
            kMalformed),
      Bytes("string_tensor_with_raw_data",
            WithInitializer(VarintField(1, 4) + VarintField(2, 8) + Field(8, "w") +
                            Field(9, good_data)),
            kMalformed),
      Bytes("tflite_without_tables", std::string("\x1c\0\0\0TFL3", 8) + std::string(64, '\0'),
            kForeign),
      Bytes("hdf5", "\x89HDF\r\n\x1a\n" + std::string(64, '\0'), kForeign),
      Bytes("zip", std::string("PK\x03\x04", 4) + std::string(64, '\0'), kForeign),
      Bytes("gguf", "GGUF" + std::string(64, '\0'), kForeign),
      Bytes("safetensors", std::string("\x02\0\0\0\0\0\0\0{}", 10), kForeign),
      Bytes("pickle", std::string("\x80\x02}q\x00.", 6), kForeign),
  };
  // A byte of the tiny model replaced: must be refused or still be a valid model, never anything else. Only positions
  // whose change certainly breaks the model are in this table; the fuzzer walks the rest.
  cases.push_back(Bytes("mutated_first_tag", Mutated(0, '\xff'), kNotAModel));
  return cases;
}

}  // namespace modelpress::testing
