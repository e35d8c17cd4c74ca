// Running a model of a test.
#pragma once

#include <string>
#include <vector>

#include "core/runtime/session.h"
#include "gtest/gtest.h"

namespace modelpress::testing {

// The elements of a float output; empty, and a failure of the test, where the model does not load or run.
inline std::vector<float> RunOnce(const Model& model, const TensorMap& inputs,
                                  const std::string& output) {
  const auto session = Session::Create(model, {});
  EXPECT_TRUE(session.ok()) << session.status();
  if (!session.ok()) return {};
  const auto outputs = (*session)->Run(inputs);
  EXPECT_TRUE(outputs.ok()) << outputs.status();
  if (!outputs.ok()) return {};
  const auto values = outputs->at(output).as<float>();
  return {values.begin(), values.end()};
}

}  // namespace modelpress::testing
