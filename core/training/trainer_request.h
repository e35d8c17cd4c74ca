// What a trainer is asked for: a model, its parameters and its data as a TrainRequest and the files it speaks of.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/base/job_context.h"
#include "core/training/hint_values.h"
#include "core/training/train_model.h"
#include "core/training/trainer_process.h"
#include "core/training/weight_codes.h"

namespace modelpress {

// Room for float arrays in one scratch file.
class FloatFile {
 public:
  uint64_t Take(uint64_t count) {
    const uint64_t offset = size_;
    size_ += (count * sizeof(float) + kAlignment - 1) / kAlignment * kAlignment;
    return offset;
  }
  absl::Status Make(Scratch& scratch) {
    MP_ASSIGN_OR_RETURN(file_, scratch.NewFile(std::max<uint64_t>(size_, 1)));
    return absl::OkStatus();
  }
  std::span<float> At(uint64_t offset, uint64_t count) {
    return {reinterpret_cast<float*>(file_->mutable_bytes().data() + offset), count};
  }
  const std::shared_ptr<MappedFile>& file() const { return file_; }

 private:
  static constexpr uint64_t kAlignment = 64;

  uint64_t size_ = 0;
  std::shared_ptr<MappedFile> file_;
};

// A parameter and where its numbers are in the file of floats.
struct PlacedParameter {
  const Trainable* trainable = nullptr;
  DecodedCodes codes;
  uint64_t count = 0, values = 0, result = 0, scales = 0, zero_points = 0;
  bool keep_zeros = false;
};

class TrainerRequest {
 public:
  // All must outlive it.
  TrainerRequest(const Model& model, const std::vector<Trainable>& parameters,
                 const TrainingData& data, const TrainOptions& options, const JobContext& context)
      : model_(model), parameters_(parameters), data_(data), options_(options), context_(context) {}

  // Writes the files. RECIPE_INVALID for hints, see PackHintValues; OP_UNSUPPORTED where the model lacks a value that it is
  // to be trained by; those of Scratch.
  absl::Status Make();

  const TrainRequest& request() const { return request_; }
  const TrainerFiles& files() const { return files_; }
  const std::vector<PlacedParameter>& placed() const { return placed_; }
  // Where a parameter begins: values, of codes those behind them.
  std::span<const float> StartOf(const PlacedParameter& placed) {
    return values_.At(placed.values, placed.count);
  }
  // What the trainer has written for a parameter: values, of codes the codes.
  std::span<const float> ResultOf(const PlacedParameter& placed) {
    return values_.At(placed.result, placed.count);
  }

 private:
  absl::Status Place();
  absl::Status LookForHints();
  absl::Status DescribeModel();
  void DescribeHints();
  void DescribeTargets();
  void DescribeParameters();
  void LimitMemory();
  void LimitTime();
  void SetArray(const PackedArray& packed, TrainArray* array);
  FileRange FloatRange(uint64_t offset, uint64_t count) {
    return files_.Range(values_.file(), offset, count * sizeof(float));
  }

  const Model& model_;
  const std::vector<Trainable>& parameters_;
  const TrainingData& data_;
  const TrainOptions& options_;
  const JobContext& context_;
  FloatFile values_;
  std::vector<PlacedParameter> placed_;
  std::vector<HintValues> hints_;
  // What is trained, floats.
  uint64_t elements_ = 0;
  TrainerFiles files_;
  TrainRequest request_;
  std::shared_ptr<MappedFile> checkpoint_;
};

}  // namespace modelpress
