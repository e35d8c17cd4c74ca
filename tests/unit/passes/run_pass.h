// Running one pass on a model of a test.
#pragma once

#include <random>
#include <string>
#include <string_view>

#include "core/passes/pass.h"
#include "core/recipe/recipe_reader.h"
#include "core/runtime/session.h"
#include "gtest/gtest.h"
#include "tests/support/model_builder.h"
#include "tests/support/run_once.h"

namespace modelpress::testing {

// `options` is the YAML of a PassStep.
inline absl::StatusOr<PassReport> RunPass(std::string_view options, Model* model, TestJob* job,
                                          WeightArena* arena, const DataSet* data = nullptr) {
  PassStep step;
  const absl::Status parsed = ReadYaml(options, &step);
  EXPECT_TRUE(parsed.ok()) << options << ": " << parsed;
  const auto pass = PassRegistry::Get().ForStep(step);
  if (!pass.ok()) return pass.status();
  EXPECT_TRUE((*pass)->Validate(step).ok()) << (*pass)->Validate(step);
  const Model original = model->Clone();
  PassContext context;
  context.job = &job->context();
  context.original = &original;
  context.arena = arena;
  context.data = data;
  return (*pass)->Run(*model, step, context);
}

inline Tensor FloatTensor(std::vector<int64_t> dims, const std::vector<float>& values) {
  std::span<std::byte> bytes;
  auto tensor = Tensor::Make(DataType::kFloat, std::move(dims), &bytes);
  EXPECT_TRUE(tensor.ok() && bytes.size() == values.size() * sizeof(float));
  std::ranges::copy(std::as_bytes(std::span(values)), bytes.begin());
  return *std::move(tensor);
}

inline std::vector<float> RandomFloats(std::mt19937& random, size_t count) {
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

// An initializer with these values, added to the main graph.
inline void AddInitializer(onnx::ModelProto& proto, std::string_view name,
                           const std::vector<int64_t>& dims, const std::vector<float>& values) {
  onnx::TensorProto& tensor = *proto.mutable_graph()->add_initializer();
  tensor.set_name(std::string(name));
  tensor.set_data_type(onnx::TensorProto::FLOAT);
  for (const int64_t extent : dims) tensor.add_dims(extent);
  tensor.set_raw_data(values.data(), values.size() * sizeof(float));
}

}  // namespace modelpress::testing
