// From a model and packed samples to a trained model: see train_model.h.
#include "core/training/train_model.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/quant/skip.h"
#include "core/training/trainer_process.h"
#include "core/training/weight_codes.h"

namespace modelpress {
namespace {

constexpr uint64_t kAlignment = 64;
constexpr uint32_t kMostSteps = 10'000'000, kMostPoints = 1000, kMostCopies = 64;
constexpr uint32_t kMostBatch = 1 << 16;
// What libtorch itself takes, and the activations of a small net.
constexpr uint64_t kTrainerProgram = 512 << 20;
// Room for the curve and the header in each half of a checkpoint.
constexpr uint64_t kCheckpointState = 512 << 10;
// Below this share of zeros, codes of 0 are just small weights.
constexpr double kPrunedShare = 0.5;
// How far from the middle of a code's cell a value may start.
constexpr double kInsideCell = 0.49;

uint64_t CountOf(std::span<const int64_t> dims) {
  return static_cast<uint64_t>(
      std::accumulate(dims.begin(), dims.end(), int64_t{1}, std::multiplies<>()));
}

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
  uint64_t size_ = 0;
  std::shared_ptr<MappedFile> file_;
};

struct Placed {
  const Trainable* trainable = nullptr;
  DecodedCodes codes;
  uint64_t count = 0, values = 0, result = 0, scales = 0, zero_points = 0;
  bool keep_zeros = false;
};

void SetArray(const PackedArray& packed, TrainerFiles& files, TrainArray* array) {
  array->set_name(packed.name);
  array->set_type(static_cast<int32_t>(packed.type));
  array->mutable_dims()->Add(packed.dims.begin(), packed.dims.end());
  const uint64_t bytes = ByteCount(packed.type, CountOf(packed.dims)).value_or(0);
  *array->mutable_data() = files.Range(packed.file, 0, bytes);
}

// The float weight that codes were made from, in the shape of the codes: the original's tensor of that name, if there
// still is one.
std::vector<float> OriginalValues(const Model* original, const Trainable& weight) {
  if (original == nullptr) return {};
  std::string name = weight.name;
  if (const size_t at = name.rfind("_quantized"); at != std::string::npos) name.resize(at);
  const onnx::TensorProto* found = nullptr;
  const onnx::GraphProto& graph = original->proto().graph();
  for (const onnx::TensorProto& tensor : graph.initializer()) {
    if (tensor.name() == name) found = &tensor;
  }
  for (const onnx::NodeProto& node : graph.node()) {
    const auto* value = FindAttribute(node, "value");
    if (IsConstantNode(node) && value != nullptr && node.output(0) == name) found = &value->t();
  }
  if (found == nullptr || Type(*found) != DataType::kFloat) return {};
  const auto bytes = original->Bytes(*found);
  if (!bytes.ok()) return {};
  std::vector<float> values(bytes->size() / sizeof(float));
  std::memcpy(values.data(), bytes->data(), values.size() * sizeof(float));
  const std::span<const int64_t> dims = Dims(*found);
  if (std::ranges::equal(dims, weight.dims)) return values;
  // MatMulNBits holds the transposed matrix of a MatMul.
  if (!weight.grid.matmul_nbits || dims.size() != 2 || dims[0] != weight.dims[1] ||
      dims[1] != weight.dims[0]) {
    return {};
  }
  std::vector<float> transposed(values.size());
  const auto rows = static_cast<size_t>(dims[0]), columns = static_cast<size_t>(dims[1]);
  for (size_t r = 0; r < rows; ++r) {
    for (size_t c = 0; c < columns; ++c) transposed[c * rows + r] = values[r * columns + c];
  }
  return transposed;
}

// Where the values behind codes start: as close to the original as the code's cell allows, else in its middle.
void StartCodes(const Placed& placed, std::span<const float> original, std::span<float> values) {
  const DecodedCodes& codes = placed.codes;
  for (uint64_t i = 0; i < values.size(); ++i) {
    const uint64_t s = codes.ScaleIndex(*placed.trainable, i);
    const double scale = codes.scales[s];
    const double middle = (codes.codes[i] - codes.zero_points[s]) * scale;
    const double reach = kInsideCell * std::abs(scale) * codes.step;
    values[i] = static_cast<float>(
        original.empty() ? middle
                         : std::clamp<double>(original[i], middle - reach, middle + reach));
  }
}

class ModelTraining {
 public:
  ModelTraining(Model& model, const std::vector<Trainable>& parameters, const TrainingData& data,
                const TrainOptions& options, WeightArena& arena, const JobContext& context,
                v1::PassReport* report)
      : model_(model),
        parameters_(parameters),
        data_(data),
        options_(options),
        arena_(arena),
        context_(context),
        report_(*report) {}

  absl::StatusOr<TrainingRun> Run() {
    MP_RETURN_IF_ERROR(Place());
    MP_RETURN_IF_ERROR(Describe());
    uint32_t restarts = 0;
    MP_ASSIGN_OR_RETURN(TrainResult result,
                        RunTrainer(
                            std::move(request_), files_, context_,
                            [this](const TrainProgress& progress) { Tell(progress); }, &restarts));
    TrainingRun& run = *result.mutable_run();
    run.set_name(options_.name);
    run.set_restarts(restarts);
    run.set_labelled_samples(data_.labelled);
    *report_.add_trainings() = run;
    for (const Placed& placed : placed_) {
      MP_RETURN_IF_ERROR(run.best_step() > 0 ? TakeResult(placed) : SkipParameter(placed));
    }
    return run;
  }

 private:
  absl::Status Place() {
    for (const Trainable& parameter : parameters_) {
      Placed placed{.trainable = &parameter, .count = CountOf(parameter.dims)};
      placed.values = values_.Take(placed.count);
      placed.result = values_.Take(placed.count);
      if (parameter.is_coded) {
        MP_ASSIGN_OR_RETURN(placed.codes, DecodeCodes(model_, parameter));
        placed.scales = values_.Take(placed.codes.scales.size());
        placed.zero_points = values_.Take(placed.codes.scales.size());
      }
      elements_ += placed.count;
      placed_.push_back(std::move(placed));
    }
    MP_RETURN_IF_ERROR(values_.Make(*context_.scratch));
    for (Placed& placed : placed_) {
      const std::span<float> values = values_.At(placed.values, placed.count);
      uint64_t zeros = 0;
      if (placed.trainable->is_coded) {
        StartCodes(placed, OriginalValues(options_.original, *placed.trainable), values);
        const auto copy = [&](const std::vector<float>& from, uint64_t to) {
          std::ranges::copy(from, values_.At(to, from.size()).begin());
        };
        copy(placed.codes.scales, placed.scales);
        copy(placed.codes.zero_points, placed.zero_points);
        for (uint64_t i = 0; i < placed.count; ++i) {
          const uint64_t s = placed.codes.ScaleIndex(*placed.trainable, i);
          zeros += placed.codes.codes[i] == placed.codes.zero_points[s];
        }
        placed.keep_zeros =
            static_cast<double>(zeros) >= kPrunedShare * static_cast<double>(placed.count);
      } else {
        MP_ASSIGN_OR_RETURN(const auto bytes, model_.Bytes(*placed.trainable->tensor));
        std::memcpy(values.data(), bytes.data(), bytes.size());
        placed.keep_zeros = placed.trainable->is_weight;
      }
    }
    return absl::OkStatus();
  }

  FileRange FloatRange(uint64_t offset, uint64_t count) {
    return files_.Range(values_.file(), offset, count * sizeof(float));
  }

  absl::Status Describe() {
    model_.proto().SerializeToString(request_.mutable_model());
    for (const WeightRef& weight : model_.weights()) {
      *request_.add_weights() = files_.Range(weight.file, weight.offset, weight.length);
    }
    for (const PackedArray& input : data_.inputs) SetArray(input, files_, request_.add_inputs());
    for (const PackedTarget& packed : data_.targets) {
      TrainTarget& target = *request_.add_targets();
      target.set_output(packed.output);
      target.set_loss(packed.loss);
      target.set_class_axis(packed.class_axis);
      target.set_probabilities(packed.probabilities);
      target.set_variance(packed.variance);
      SetArray(packed.teacher, files_, target.mutable_teacher());
      if (packed.labels.has_value()) SetArray(*packed.labels, files_, target.mutable_labels());
    }
    for (const Placed& placed : placed_) {
      const Trainable& trainable = *placed.trainable;
      TrainParameter& parameter = *request_.add_parameters();
      parameter.set_tensor(trainable.name);
      parameter.mutable_dims()->Add(trainable.dims.begin(), trainable.dims.end());
      *parameter.mutable_values() = FloatRange(placed.values, placed.count);
      *parameter.mutable_result() = FloatRange(placed.result, placed.count);
      parameter.set_keep_zeros(placed.keep_zeros);
      parameter.set_decay(trainable.is_weight);
      parameter.set_statistic(trainable.is_statistic);
      if (!trainable.is_coded) continue;
      parameter.set_coded(true);
      parameter.set_low(placed.codes.low);
      parameter.set_high(placed.codes.high);
      parameter.set_step(placed.codes.step);
      *parameter.mutable_scales() = FloatRange(placed.scales, placed.codes.scales.size());
      *parameter.mutable_zero_points() =
          FloatRange(placed.zero_points, placed.codes.zero_points.size());
      parameter.mutable_scale_dims()->Add(placed.codes.scale_dims.begin(),
                                          placed.codes.scale_dims.end());
      parameter.set_axis(trainable.grid.axis);
      parameter.set_block_size(trainable.grid.block_size);
    }
    request_.set_training_samples(data_.training);
    *request_.mutable_training() = options_.training;
    request_.set_seed(options_.seed);
    request_.set_exact(data_.exact);
    if (data_.exact) request_.set_samples_per_forward(1);
    // Values, two moments and the best values, twice; see core/trainer/checkpoint.h.
    const uint64_t checkpoint = 2 * (4 * elements_ * sizeof(float) + kCheckpointState);
    MP_ASSIGN_OR_RETURN(checkpoint_, context_.scratch->NewFile(checkpoint));
    *request_.mutable_checkpoint() = files_.Range(checkpoint_, 0, checkpoint);
    request_.set_memory_limit_bytes(context_.memory_budget_bytes);
    return absl::OkStatus();
  }

  void Tell(const TrainProgress& progress) {
    if (!options_.progress) return;
    std::string text = FormatString("{}: step {} of {}, loss {:.4f}", options_.name,
                                    progress.step(), progress.steps(), progress.loss());
    if (progress.has_point()) {
      last_point_ = FormatString(", validation {:.4f}", progress.point().validation_loss());
      if (progress.point().has_agreement()) {
        last_point_ += FormatString(", agreement {:.4f}", progress.point().agreement());
      }
      if (progress.point().has_accuracy()) {
        last_point_ += FormatString(", accuracy {:.4f}", progress.point().accuracy());
      }
    }
    text += last_point_;
    if (progress.samples_per_second() > 0) {
      text += FormatString(", {:.0f} samples/s, {:.0f} s left", progress.samples_per_second(),
                           progress.seconds_left());
    }
    options_.progress(static_cast<double>(progress.step()) /
                          static_cast<double>(std::max<uint64_t>(1, progress.steps())),
                      text);
  }

  absl::Status SkipParameter(const Placed& placed) {
    *report_.add_skips() =
        MakeSkip(SkipReason::kNothingGained, placed.trainable->name, placed.trainable->node,
                 "no step of the training made the validation loss less");
    return absl::OkStatus();
  }

  absl::Status TakeResult(const Placed& placed) {
    const Trainable& trainable = *placed.trainable;
    const std::span<const float> result = values_.At(placed.result, placed.count);
    Change& change = *report_.add_changes();
    change.set_tensor(trainable.name);
    change.set_node(trainable.node);
    const std::vector<int64_t> dims(trainable.tensor->dims().begin(),
                                    trainable.tensor->dims().end());
    if (trainable.is_coded) {
      uint64_t changed = 0;
      for (uint64_t i = 0; i < placed.count; ++i) changed += result[i] != placed.codes.codes[i];
      change.set_what(FormatString("trained, {} of {} codes changed{}", changed, placed.count,
                                   placed.keep_zeros ? "; zeros kept" : ""));
      MP_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes,
                          EncodeCodes(model_, trainable, result));
      return model_.SetBytes(trainable.tensor, Type(*trainable.tensor), dims, bytes, arena_);
    }
    const auto zeros = static_cast<uint64_t>(std::ranges::count(result, 0.0f));
    const bool keeps = placed.keep_zeros && zeros > 0;
    change.set_what(trainable.is_statistic ? "statistics of the training batches"
                    : keeps                ? FormatString("trained, {} values stay 0", zeros)
                                           : std::string("trained"));
    if (keeps) {
      change.set_sparsity(static_cast<double>(zeros) / static_cast<double>(placed.count));
    }
    return model_.SetBytes(trainable.tensor, DataType::kFloat, dims, std::as_bytes(result), arena_);
  }

  Model& model_;
  const std::vector<Trainable>& parameters_;
  const TrainingData& data_;
  const TrainOptions& options_;
  WeightArena& arena_;
  const JobContext& context_;
  v1::PassReport& report_;
  FloatFile values_;
  std::vector<Placed> placed_;
  uint64_t elements_ = 0;
  TrainerFiles files_;
  TrainRequest request_;
  std::shared_ptr<MappedFile> checkpoint_;
  std::string last_point_;
};

}  // namespace

absl::Status ValidateTraining(const Training& training, std::string_view field) {
  const auto refuse = [&](std::string_view name, std::string_view rule) {
    const std::string path = FormatString("{}.{}", field, name);
    return Error(ERROR_REASON_RECIPE_INVALID, FormatString("{} {}", path, rule))
        .With("field", path);
  };
  const Training full = WithDefaults(training);
  if (full.steps() < 1 || full.steps() > kMostSteps) {
    return refuse("steps", FormatString("must be 1 to {}", kMostSteps));
  }
  if (full.max_seconds() < 0) return refuse("max_seconds", "must not be negative");
  if (full.batch_size() > kMostBatch)
    return refuse("batch_size", FormatString("must be at most {}", kMostBatch));
  if (!(full.learning_rate() > 0)) return refuse("learning_rate", "must be positive");
  if (full.weight_decay() < 0) return refuse("weight_decay", "must not be negative");
  if (full.warmup() < 0 || full.warmup() > 1) return refuse("warmup", "must lie between 0 and 1");
  if (full.clip_norm() < 0) return refuse("clip_norm", "must not be negative");
  if (!(full.temperature() > 0)) return refuse("temperature", "must be positive");
  if (full.alpha() < 0 || full.alpha() > 1) return refuse("alpha", "must lie between 0 and 1");
  if (full.steps() / full.evaluate_every() > kMostPoints) {
    return refuse("evaluate_every", FormatString("must leave at most {} looks", kMostPoints));
  }
  if (full.augmented_copies() > kMostCopies) {
    return refuse("augmented_copies", FormatString("must be at most {}", kMostCopies));
  }
  return absl::OkStatus();
}

Training WithDefaults(Training training) {
  if (!training.has_steps()) training.set_steps(1500);
  if (training.batch_size() == 0) training.set_batch_size(100);
  if (training.optimizer() == Training::OPTIMIZER_UNSPECIFIED) {
    training.set_optimizer(Training::OPTIMIZER_ADAMW);
  }
  const bool adam = training.optimizer() == Training::OPTIMIZER_ADAMW;
  if (training.learning_rate() == 0) training.set_learning_rate(adam ? 1e-3 : 1e-2);
  if (!training.has_weight_decay()) training.set_weight_decay(adam ? 1e-2 : 1e-4);
  if (!training.has_warmup()) training.set_warmup(0.05);
  if (!training.has_clip_norm()) training.set_clip_norm(1);
  if (!training.has_temperature()) training.set_temperature(3);
  if (!training.has_alpha()) training.set_alpha(0.7);
  if (training.evaluate_every() == 0)
    training.set_evaluate_every(std::max(1u, training.steps() / 20));
  return training;
}

const TrainingPoint& BestPoint(const TrainingRun& run) {
  for (const TrainingPoint& point : run.points()) {
    if (point.step() == run.best_step()) return point;
  }
  return TrainingPoint::default_instance();
}

uint64_t TrainerMemory(uint64_t weight_bytes) { return kTrainerProgram + 12 * weight_bytes; }

absl::StatusOr<TrainingRun> TrainModel(Model& model, const std::vector<Trainable>& parameters,
                                       const TrainingData& data, const TrainOptions& options,
                                       WeightArena& arena, const JobContext& context,
                                       v1::PassReport* report) {
  return ModelTraining(model, parameters, data, options, arena, context, report).Run();
}

}  // namespace modelpress
