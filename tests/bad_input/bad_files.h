// Builders of bad input: models as protobuf messages or as raw wire bytes, .npy arrays, and the one way through which
// every case is run (RunRecipe, exactly as a job runs).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/recipe/run.h"
#include "onnx/onnx_pb.h"

namespace modelpress::testing {

// Everything a job brings, as bytes by relative name.
struct JobBytes {
  std::string model;
  std::map<std::string, std::string> sidecars;
  // Files of a data folder ("input.npy", "test/labels.npy"); empty: no data.
  std::map<std::string, std::string> data;
  std::string recipe = "judging: {gate: structure}";
};

struct BadCase {
  std::string name;
  std::function<JobBytes()> make;
  // Any of these is a correct answer.
  std::vector<ErrorReason> reasons;
};

// Runs the job in a folder of its own and returns its outcome. Fails the current test if it takes longer than 20 s,
// grows anonymous memory by more than 256 MiB, or leaves anything in scratch.
JobOutcome RunBadJob(const JobBytes& job);

// y = MatMul(x, w): x float [N,4], w float [4,4] holding 0.25 * i; opset 17.
onnx::ModelProto TinyModel();
// The same with w of `rows` x `rows` elements, so that it is not small.
onnx::ModelProto SquareModel(int64_t rows);

// Wire format (protobuf encoding guide): varints, and a length-delimited field.
std::string Varint(uint64_t value);
std::string Field(int number, std::string_view payload);
std::string VarintField(int number, uint64_t value);

// An .npy file (format 1.0) with the given header dictionary and payload.
std::string NpyBytes(std::string_view header, std::string_view payload);
// float32 C-order array.
std::string NpyFloats(const std::vector<int64_t>& shape, const std::vector<float>& values);
std::string NpyInts(const std::vector<int64_t>& shape, const std::vector<int64_t>& values);

}  // namespace modelpress::testing
