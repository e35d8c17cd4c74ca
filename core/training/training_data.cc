// Packing samples for the trainer: see training_data.h.
#include "core/training/training_data.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "absl/strings/str_join.h"
#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/measure/numbers.h"
#include "core/training/augmentation.h"

namespace modelpress {
namespace {

// Samples of one run of the teacher, where they can be joined.
constexpr uint64_t kJoined = 64;
constexpr uint64_t kHeldBack = 10;
constexpr uint64_t kSyntheticSamples = 128;

struct Source {
  std::string name;
  std::unique_ptr<Samples> samples;
  bool validation = false;
};

absl::StatusOr<std::vector<Source>> OpenSources(const Model& teacher, const DataSet* data,
                                                const Training& training, uint64_t seed,
                                                uint64_t batch) {
  const std::vector<ValueInfo> inputs = DeclaredInputs(teacher);
  std::vector<Source> sources;
  if (data == nullptr) {
    MP_ASSIGN_OR_RETURN(auto samples, MakeSyntheticSamples(teacher, kSyntheticSamples, seed));
    sources.push_back({"synthetic samples", std::move(samples)});
    return sources;
  }
  const auto open = [&](const std::string& split, bool validation) -> absl::Status {
    MP_ASSIGN_OR_RETURN(auto samples,
                        data->Split(split, {}, inputs, batch, training.max_samples()));
    sources.push_back({split, std::move(samples), validation});
    return absl::OkStatus();
  };
  for (const char* split : {"train", "unlabeled"}) {
    if (data->HasSplit(split)) MP_RETURN_IF_ERROR(open(split, false));
  }
  const bool own_training = !sources.empty();
  // A data set without splits is taken whole.
  if (!own_training) MP_RETURN_IF_ERROR(open("calib", false));
  if (data->HasSplit("val")) {
    MP_RETURN_IF_ERROR(open("val", true));
  } else if (own_training && data->HasSplit("calib")) {
    MP_RETURN_IF_ERROR(open("calib", true));
  }
  return sources;
}

// Whether samples of this feed lie along axis 0 of every input and output.
bool IsJoined(const Model& teacher, const Batch& batch, const TensorMap& outputs) {
  const auto along = [&](const Tensor& tensor) {
    return !tensor.dims.empty() && tensor.dims[0] == static_cast<int64_t>(batch.samples);
  };
  for (const ValueInfo& input : DeclaredInputs(teacher)) {
    if (input.dims.empty() || input.dims[0] >= 0) return false;
  }
  return std::ranges::all_of(batch.inputs,
                             [&](const auto& entry) { return along(entry.second); }) &&
         std::ranges::all_of(outputs, [&](const auto& entry) { return along(entry.second); });
}

class Packer {
 public:
  Packer(const Model& teacher, const Training& training, const JobContext& context,
         const std::function<void(double)>& progress)
      : teacher_(teacher), training_(training), context_(context), progress_(progress) {}

  absl::StatusOr<TrainingData> Pack(const DataSet* data, uint64_t seed) {
    MP_ASSIGN_OR_RETURN(
        session_,
        Session::Create(teacher_, {.threads = static_cast<int>(context_.pool->threads())}));
    MP_ASSIGN_OR_RETURN(sources_, OpenSources(teacher_, data, training_, seed, kJoined));
    bool joined = sources_[0].samples->batches() > 0 && !sources_[0].samples->synthetic();
    if (joined) {
      MP_ASSIGN_OR_RETURN(const Batch first, sources_[0].samples->Read(0));
      const auto outputs = session_->Run(first.inputs);
      joined = outputs.ok() && first.samples > 1 && IsJoined(teacher_, first, *outputs);
    }
    if (!joined) {
      MP_ASSIGN_OR_RETURN(sources_, OpenSources(teacher_, data, training_, seed, 1));
    }
    result_.exact = !joined;
    MP_RETURN_IF_ERROR(Plan());
    MP_RETURN_IF_ERROR(Fill(seed));
    FinishTargets();
    return std::move(result_);
  }

 private:
  uint64_t RowsOf(const Source& source) const {
    return result_.exact ? source.samples->batches() : source.samples->size();
  }

  // Counts rows, and lays out the arrays by the first feed.
  absl::Status Plan() {
    std::vector<std::string> trained_on, judged_on;
    for (const Source& source : sources_) {
      (source.validation ? judged_on : trained_on).push_back(source.name);
      own_validation_ |= source.validation && RowsOf(source) > 0;
      (source.validation ? result_.validation : result_.training) += RowsOf(source);
    }
    if (result_.training == 0) {
      return Error(ERROR_REASON_DATA_MISSING, "there are no samples to train on")
          .With("needed", "train, unlabeled or calib");
    }
    if (!own_validation_) {
      held_back_ = result_.training < 2 ? 0 : std::min(kHeldBack, result_.training);
      result_.validation = held_back_ == 0 ? 1 : result_.training / held_back_;
      result_.training -= held_back_ == 0 ? 0 : result_.validation;
      judged_on = {held_back_ == 0 ? "the one sample there is"
                                   : FormatString("every {}th of them", held_back_)};
    }
    result_.description = FormatString("{}; validation: {}", absl::StrJoin(trained_on, ", "),
                                       absl::StrJoin(judged_on, ", "));
    // Labels say most about the task.
    const auto labelled = std::ranges::find_if(sources_, [](const Source& source) {
      return source.samples->has_labels() && source.samples->batches() > 0;
    });
    const Source& telling = labelled == sources_.end() ? sources_[0] : *labelled;
    MP_ASSIGN_OR_RETURN(const Batch first, telling.samples->Read(0));
    MP_ASSIGN_OR_RETURN(const TensorMap outputs, session_->Run(first.inputs));
    MP_ASSIGN_OR_RETURN(task_, ResolveTask(Judging(), session_->outputs(), outputs, first));
    result_.task = task_.description;
    MP_RETURN_IF_ERROR(PlanAugmentation(first));
    rows_ = result_.training * (1 + copies_) + result_.validation;
    for (const ValueInfo& input : session_->inputs()) {
      MP_ASSIGN_OR_RETURN(result_.inputs.emplace_back(),
                          Reserve(input.name, first.inputs.at(input.name)));
    }
    return PlanTargets(outputs);
  }

  absl::Status PlanAugmentation(const Batch& first) {
    if (training_.augmented_copies() == 0) return absl::OkStatus();
    if (result_.exact || first.inputs.size() != 1 || !IsImage(first.inputs.begin()->second)) {
      return Error(ERROR_REASON_DATA_INVALID,
                   "augmented_copies needs a single input of float32 images [N, channels, height, "
                   "width]")
          .With("input", first.inputs.begin()->first);
    }
    copies_ = training_.augmented_copies();
    return absl::OkStatus();
  }

  absl::StatusOr<PackedArray> Reserve(const std::string& name, const Tensor& like) {
    PackedArray array{.name = name, .type = like.type, .dims = like.dims};
    if (result_.exact) {
      array.dims.insert(array.dims.begin(), static_cast<int64_t>(rows_));
    } else {
      array.dims[0] = static_cast<int64_t>(rows_);
    }
    if (like.type == DataType::kString) {
      return Error(ERROR_REASON_OP_UNSUPPORTED,
                   FormatString("'{}' holds strings, which are not trained with", name));
    }
    MP_ASSIGN_OR_RETURN(const uint64_t count, ElementCount(array.dims));
    MP_ASSIGN_OR_RETURN(const uint64_t length, ByteCount(array.type, count));
    MP_ASSIGN_OR_RETURN(array.file, context_.scratch->NewFile(std::max<uint64_t>(length, 1)));
    return array;
  }

  absl::Status PlanTargets(const TensorMap& outputs) {
    const bool labels = std::ranges::any_of(
        sources_, [](const Source& source) { return source.samples->has_labels(); });
    for (const ValueInfo& info : session_->outputs()) {
      const auto found = outputs.find(info.name);
      if (found == outputs.end() || found->second.type != DataType::kFloat) continue;
      const Tensor& output = found->second;
      const bool classes = info.name == task_.output;
      // Where one output has classes, the others (features, states) follow from the same weights.
      if (!task_.output.empty() && !classes) continue;
      PackedTarget target{.output = info.name};
      target.loss = !classes                ? TrainTarget::LOSS_SQUARES
                    : task_.class_axis >= 0 ? TrainTarget::LOSS_CLASSES
                                            : TrainTarget::LOSS_BINARY;
      target.class_axis = std::max(task_.class_axis, 0);
      MP_ASSIGN_OR_RETURN(target.teacher, Reserve(info.name, output));
      if (classes && labels && task_.task != Judging::TASK_NONE) {
        Tensor like{.type = DataType::kInt64, .dims = output.dims};
        if (task_.class_axis >= 0) like.dims.erase(like.dims.begin() + task_.class_axis);
        MP_ASSIGN_OR_RETURN(target.labels, Reserve("labels", like));
        std::memset(target.labels->file->mutable_bytes().data(), 0xFF,
                    target.labels->file->size());  // -1: none
      }
      result_.targets.push_back(std::move(target));
    }
    if (result_.targets.empty()) {
      return Error(ERROR_REASON_OP_UNSUPPORTED, "the model has no float32 output to train by");
    }
    return absl::OkStatus();
  }

  // Copies samples [from, from + count) of a tensor, which holds `samples`, to rows from `row` on.
  absl::Status Copy(const PackedArray& array, const Tensor& tensor, uint64_t samples, uint64_t from,
                    uint64_t count, uint64_t row, uint64_t source_sample) {
    std::vector<int64_t> wanted = array.dims;
    if (result_.exact) {
      wanted.erase(wanted.begin());
    } else {
      wanted[0] = static_cast<int64_t>(samples);
    }
    if (tensor.dims != wanted || tensor.type != array.type) {
      return Error(
                 ERROR_REASON_DATA_INVALID,
                 FormatString("sample {} has another shape than the first in '{}' ([{}] and [{}]); "
                              "training needs one shape",
                              source_sample, array.name, absl::StrJoin(tensor.dims, ","),
                              absl::StrJoin(wanted, ",")))
          .With("input", array.name);
    }
    const uint64_t per_row = tensor.bytes.size() / (result_.exact ? 1 : samples);
    std::memcpy(array.file->mutable_bytes().data() + row * per_row,
                tensor.bytes.data() + from * per_row, count * per_row);
    return absl::OkStatus();
  }

  absl::Status CopyLabels(PackedTarget& target, const Batch& batch, uint64_t from, uint64_t count,
                          uint64_t row) {
    if (!target.labels.has_value() || !batch.labels.has_value()) return absl::OkStatus();
    const Tensor& labels = *batch.labels;
    uint64_t per_row = 1;
    for (size_t i = 1; i < target.labels->dims.size(); ++i) {
      per_row *= static_cast<uint64_t>(target.labels->dims[i]);
    }
    const uint64_t rows_here = result_.exact ? 1 : batch.samples;
    if (labels.element_count() != per_row * rows_here) {
      return Error(ERROR_REASON_DATA_INVALID,
                   FormatString("the labels of sample {} do not fit output '{}'", batch.first,
                                target.output))
          .With("input", "labels");
    }
    const int64_t classes = target.loss == TrainTarget::LOSS_BINARY ? 2 : ClassesOf(target);
    auto* const to = reinterpret_cast<int64_t*>(target.labels->file->mutable_bytes().data());
    const Numbers values(labels);
    for (uint64_t i = 0; i < count * per_row; ++i) {
      const double value = values[from * per_row + i];
      if (value >= static_cast<double>(classes) || value != std::floor(value)) {
        return Error(ERROR_REASON_DATA_INVALID,
                     FormatString("label {} of sample {} is none of the {} classes", value,
                                  batch.first, classes))
            .With("input", "labels")
            .With("expected", FormatString("0 to {}", classes - 1));
      }
      to[row * per_row + i] = value < 0 ? -1 : static_cast<int64_t>(value);
    }
    return absl::OkStatus();
  }

  int64_t ClassesOf(const PackedTarget& target) const {
    return target.teacher.dims[target.class_axis + (result_.exact ? 1 : 0)];
  }

  // One feed's samples [from, from + count) to rows from `row` on.
  absl::Status Put(const Batch& batch, const TensorMap& outputs, uint64_t from, uint64_t count,
                   uint64_t row) {
    for (const PackedArray& input : result_.inputs) {
      MP_RETURN_IF_ERROR(
          Copy(input, batch.inputs.at(input.name), batch.samples, from, count, row, batch.first));
    }
    for (PackedTarget& target : result_.targets) {
      MP_RETURN_IF_ERROR(Copy(target.teacher, outputs.at(target.output), batch.samples, from, count,
                              row, batch.first));
      MP_RETURN_IF_ERROR(CopyLabels(target, batch, from, count, row));
    }
    return absl::OkStatus();
  }

  absl::Status Fill(uint64_t seed) {
    uint64_t training_row = 0, validation_row = result_.training * (1 + copies_), done = 0, all = 0;
    for (const Source& source : sources_) all += source.samples->batches();
    uint64_t number = 0;  // of a training sample
    for (const Source& source : sources_) {
      for (uint64_t i = 0; i < source.samples->batches(); ++i, ++done) {
        MP_RETURN_IF_ERROR(context_.cancellation->Check());
        if (progress_) progress_(static_cast<double>(done) / static_cast<double>(all));
        MP_ASSIGN_OR_RETURN(const Batch batch, source.samples->Read(i));
        MP_ASSIGN_OR_RETURN(const TensorMap outputs, session_->Run(batch.inputs));
        MP_RETURN_IF_ERROR(CheckFinite(outputs, batch));
        const uint64_t rows = result_.exact ? 1 : batch.samples;
        for (uint64_t k = 0; k < rows; ++k) {
          const bool validation =
              source.validation ||
              (held_back_ > 0 && number++ % held_back_ == held_back_ - 1 && validation_row < rows_);
          MP_RETURN_IF_ERROR(
              Put(batch, outputs, k, 1, validation ? validation_row++ : training_row++));
          if (!validation && batch.labels.has_value()) ++result_.labelled;
          // A single sample is both.
          if (!own_validation_ && held_back_ == 0) {
            MP_RETURN_IF_ERROR(Put(batch, outputs, k, 1, validation_row++));
          }
        }
      }
    }
    if (copies_ > 0) MP_RETURN_IF_ERROR(FillCopies(seed));
    result_.training *= 1 + copies_;
    return absl::OkStatus();
  }

  // Copy c of training row r lies in row r + c * training.
  absl::Status FillCopies(uint64_t seed) {
    PackedArray& images = result_.inputs[0];
    const uint64_t per_row = images.file->size() / static_cast<uint64_t>(images.dims[0]);
    std::vector<int64_t> shape = images.dims;
    for (uint64_t copy = 1; copy <= copies_; ++copy) {
      for (uint64_t first = 0; first < result_.training; first += kJoined) {
        MP_RETURN_IF_ERROR(context_.cancellation->Check());
        const uint64_t count = std::min(kJoined, result_.training - first);
        shape[0] = static_cast<int64_t>(count);
        Batch batch{.samples = count, .first = first};
        std::span<std::byte> bytes;
        MP_ASSIGN_OR_RETURN(Tensor tensor, Tensor::Make(DataType::kFloat, shape, &bytes));
        for (uint64_t k = 0; k < count; ++k) {
          Random random(seed, copy, first + k);
          const auto source = images.file->bytes().subspan((first + k) * per_row, per_row);
          AugmentImage(
              {reinterpret_cast<const float*>(source.data()), per_row / sizeof(float)},
              {reinterpret_cast<float*>(bytes.data() + k * per_row), per_row / sizeof(float)},
              shape[1], shape[2], shape[3], random);
        }
        batch.inputs[images.name] = tensor;
        MP_ASSIGN_OR_RETURN(const TensorMap outputs, session_->Run(batch.inputs));
        MP_RETURN_IF_ERROR(CheckFinite(outputs, batch));
        MP_RETURN_IF_ERROR(Put(batch, outputs, 0, count, copy * result_.training + first));
        // The label of a sample is that of its copies.
        for (PackedTarget& target : result_.targets) {
          if (!target.labels.has_value()) continue;
          const auto rows = static_cast<uint64_t>(target.labels->dims[0]);
          const uint64_t label_bytes = target.labels->file->size() / rows;
          std::byte* const to = target.labels->file->mutable_bytes().data();
          std::memcpy(to + (copy * result_.training + first) * label_bytes,
                      to + first * label_bytes, count * label_bytes);
        }
      }
    }
    return absl::OkStatus();
  }

  absl::Status CheckFinite(const TensorMap& outputs, const Batch& batch) const {
    for (const PackedTarget& target : result_.targets) {
      for (const float value : outputs.at(target.output).as<float>()) {
        if (std::isfinite(value)) continue;
        return Error(ERROR_REASON_DATA_NOT_FINITE,
                     FormatString("the original gives NaN or infinity in '{}' at sample {}",
                                  target.output, batch.first))
            .With("sample", std::to_string(batch.first));
      }
    }
    return absl::OkStatus();
  }

  // What the teacher's values themselves say: whether scores are probabilities, and how far squares spread.
  void FinishTargets() {
    for (PackedTarget& target : result_.targets) {
      const std::span<const std::byte> bytes = target.teacher.file->bytes();
      uint64_t count = 1;
      for (const int64_t extent : target.teacher.dims) count *= static_cast<uint64_t>(extent);
      const std::span<const float> values(reinterpret_cast<const float*>(bytes.data()), count);
      double sum = 0, squares = 0;
      bool unit = true;
      for (const float value : values) {
        sum += value;
        squares += static_cast<double>(value) * value;
        unit &= value >= 0 && value <= 1;
      }
      const double n = static_cast<double>(std::max<uint64_t>(1, count));
      target.variance = std::max(squares / n - sum / n * (sum / n), 1e-12);
      if (target.loss == TrainTarget::LOSS_BINARY) target.probabilities = unit;
      if (target.loss == TrainTarget::LOSS_CLASSES) {
        const double positions = n / static_cast<double>(ClassesOf(target));
        target.probabilities = unit && std::abs(sum - positions) < 1e-3 * positions;
      }
    }
  }

  const Model& teacher_;
  const Training& training_;
  const JobContext& context_;
  const std::function<void(double)>& progress_;
  std::unique_ptr<Session> session_;
  std::vector<Source> sources_;
  TaskSettings task_;
  // Of every array; every so many training samples one is for validation (0: none).
  uint64_t rows_ = 0, held_back_ = 0, copies_ = 0;
  bool own_validation_ = false;
  TrainingData result_;
};

}  // namespace

absl::StatusOr<TrainingData> PackTrainingData(const Model& teacher, const DataSet* data,
                                              const Training& training, uint64_t seed,
                                              const JobContext& context,
                                              const std::function<void(double)>& progress) {
  return Packer(teacher, training, context, progress).Pack(data, seed);
}

}  // namespace modelpress
